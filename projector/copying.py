"""Copying: rows into the tables of a projection, by COPY."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import asyncpg

from projector.declare import Child, Children, Projection, Row
from projector.home import Home
from projector.judging import Flags

Decided = Mapping[str, Flags]
"""By at-uri, the values of `Projection.decided`; of rows that have none, all are NULL."""

JudgedCells = tuple[Children | None, ...]
"""The rows of each of `Projection.judged_children`, None for none."""


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
        none: Flags = (None,) * len(projection.decided)
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
    """Writes the rows of the child tables alone, but for those that are judged."""
    for at, child in enumerate(projection.children, len(projection.table.columns)):
        await _copy_child(connection, child, home, (row[at] for row in rows))


async def copy_judged(
    connection: asyncpg.Connection,
    projection: Projection,
    home: Home,
    judged: Collection[JudgedCells],
) -> None:
    """Writes the rows of the judged child tables."""
    for at, child in enumerate(projection.judged_children):
        await _copy_child(connection, child, home, (cells[at] for cells in judged))


async def _copy_child(
    connection: asyncpg.Connection, child: Child, home: Home, cells: Iterable[Children | None]
) -> None:
    rows = [row for cell in cells if cell for row in cell]
    if rows:
        await connection.copy_records_to_table(
            child.name, schema_name=home.place(child), columns=child.columns, records=rows
        )
