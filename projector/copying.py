"""Copying: rows into the tables of a projection, by COPY."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import asyncpg

from projector.declare import Projection, Row
from projector.home import Home


async def copy_rows(
    connection: asyncpg.Connection, projection: Projection, home: Home, rows: Collection[Row]
) -> None:
    """Writes rows of which nothing is there yet, those of child tables with them.

    Raises asyncpg's errors; of values that cannot be sent a `DataError`.
    """
    table = projection.table
    width = len(table.columns)
    own = [row[:width] for row in rows] if projection.children else rows
    try:
        await connection.copy_records_to_table(
            table.name, schema_name=home.schema, columns=table.columns, records=own
        )
        await copy_children(connection, projection, home, rows)
    except (TypeError, ValueError, OverflowError) as error:
        # What asyncpg cannot encode it says in its own words only of a statement's values.
        raise asyncpg.DataError(f"a value cannot be sent: {error}") from error


async def copy_children(
    connection: asyncpg.Connection, projection: Projection, home: Home, rows: Iterable[Row]
) -> None:
    """Writes the rows of the child tables alone."""
    for at, child in enumerate(projection.children, len(projection.table.columns)):
        inner = [one for row in rows if (cell := row[at]) for one in cell]
        if inner:
            await connection.copy_records_to_table(
                child.name, schema_name=home.schema, columns=child.columns, records=inner
            )
