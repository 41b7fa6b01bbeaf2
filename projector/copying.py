"""Copying: rows into the tables of a projection, by COPY."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import asyncpg

from projector.declare import Projection, Row
from projector.home import Home
from projector.judging import Verdict

Decided = Mapping[str, Verdict]
"""By at-uri, the values of `Projection.decided`; of rows that have none, all are NULL."""


async def copy_rows(
    connection: asyncpg.Connection,
    projection: Projection,
    home: Home,
    rows: Collection[Row],
    decided: Decided | None = None,
) -> None:
    """Writes rows of which nothing is there yet, those of child tables with them.

    Raises asyncpg's errors; of values that cannot be sent a `DataError`.
    """
    table = projection.table
    columns, width = table.columns, len(table.columns)
    own = [row[:width] for row in rows] if projection.children else rows
    if decided:
        columns += projection.decided
        none: Verdict = (None,) * len(projection.decided)
        own = [row + decided.get(row[0], none) for row in own]
    try:
        await connection.copy_records_to_table(
            table.name, schema_name=home.schema, columns=columns, records=own
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
                child.name, schema_name=home.place(child), columns=child.columns, records=inner
            )
