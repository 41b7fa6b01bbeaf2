"""Snapshots of several tables, between which no swap of a rebuild can come.

A swap renames tables, and names are looked up when a statement runs, not as of its snapshot. Who
has a snapshot from before a swap, and comes to a table after it, would read the new table as it was
then: not yet complete, and its deltas under another name. So the tables are locked first, which
takes no snapshot.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from projector.declare import Declaration, Fed, Projection
from projector.home import Home, quoted

THERE: Final = """
SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL
ORDER BY name COLLATE "C"
"""


def tables_of(declarations: Sequence[Declaration], schema: str) -> list[str]:
    """All tables of some declarations where they are live, and those that aggregates count."""
    found: set[str] = set()
    for declaration in declarations:
        home = Home(declaration.name, schema)
        if isinstance(declaration, Projection):
            found.update(_tables_of_projection(declaration, home))
            continue
        found.add(f"{quoted(schema)}.{quoted(declaration.table)}")
        if isinstance(declaration, Fed):
            found.update(home.counted(count) for count in declaration.counters.values())
    return sorted(found)


def _tables_of_projection(projection: Projection, home: Home) -> list[str]:
    table = projection.table
    found = [*home.tables(projection), home.versions(projection)]
    return [*found, home.shelf(table), home.list(table)] if table.unique else found


@asynccontextmanager
async def snapshot(connection: asyncpg.Connection, tables: Iterable[str]) -> AsyncIterator[None]:
    """One snapshot for all that is read within; `tables` stay what they are called meanwhile.

    Waits for a swap that is under way. Tables that are not there are left out.
    """
    there = [row["name"] for row in await connection.fetch(THERE, sorted(set(tables)))]
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        if there:
            # In the order in which a swap locks them, so that the two do not deadlock.
            await connection.execute(f"LOCK TABLE {', '.join(there)} IN ACCESS SHARE MODE")
        yield
