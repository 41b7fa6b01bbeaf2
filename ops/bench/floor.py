"""The floor: plain binary COPY of the same final rows into the same tables with the same indexes.

No projector can be faster than that without dropping indexes. Every table has a connection of its
own, all work at once, and the rows are in memory before the clock starts. End to end the log is
written too: its floor has the log's rows among what is copied.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from events.event import Batch
from events.log import COLUMNS
from events.rows import times_in_microseconds
from ops.bench.place import Place, Usage
from projector.database import APPLY_SETTINGS, Database
from projector.declare import Projection
from projector.home import listed, quoted

INSERTABLE: Final = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""
FIRST_PARTITION: Final = """
SELECT table_name FROM projector.log_partition ORDER BY first_offset LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Load:
    """The rows of one table, as asyncpg takes them. Without a table they are the log's."""

    table: str | None
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


def tables_of(place: Place) -> list[str]:
    """The tables that the projections write, each once."""
    names: dict[str, None] = {}
    for declaration in place.declarations:
        if isinstance(declaration, Projection):
            names[declaration.table.name] = None
            names.update(dict.fromkeys(child.name for child in declaration.children))
            if declaration.table.unique:
                names[declaration.table.duplicates] = None
        else:
            names[declaration.table] = None
    return list(names)


async def read_back(place: Place, database: Database) -> list[Load]:
    """All rows that a projected log left, in the order in which they lie in their tables."""
    loads = []
    connection = await database.connect("bench")
    try:
        for table in tables_of(place):
            name = f"{quoted(place.settings.schema)}.{quoted(table)}"
            columns = tuple([row[0] for row in await connection.fetch(INSERTABLE, name)])
            records = await connection.fetch(f"SELECT {listed(columns)} FROM {name}")
            loads.append(Load(table, columns, [tuple(record) for record in records]))
    finally:
        await connection.close()
    return loads


def log_load(batches: Sequence[Batch]) -> Load:
    """The log's rows of all events."""
    events = (event for batch in batches for event in batch.events)
    rows: list[tuple[object, ...]] = [
        (
            offset, e.did, e.kind, e.action, e.collection, e.rkey, e.rev, e.cid,
            e.source_cursor, e.record, e.time_us,
        )
        for offset, e in enumerate(events, 1)
    ]  # fmt: skip
    return Load(None, COLUMNS, rows)


async def copy_all(
    place: Place, database: Database, loads: Sequence[Load], into: list[Usage]
) -> None:
    """Loads everything at once, by one COPY and one transaction for each table.

    As in the engine, only what goes into the log waits for the disk.
    """
    connections = [
        await database.connect("floor", **({} if load.table is None else APPLY_SETTINGS))
        for load in loads
    ]
    try:
        pairs = list(zip(connections, loads, strict=True))
        for connection in connections:
            await times_in_microseconds(connection)
        partition = str(await connections[0].fetchval(FIRST_PARTITION))
        with place.metered(into):
            async with asyncio.TaskGroup() as group:
                for connection, load in pairs:
                    group.create_task(_copy(place, connection, load, partition))
    finally:
        for connection in connections:
            await connection.close()


async def _copy(place: Place, connection: asyncpg.Connection, load: Load, partition: str) -> None:
    await connection.copy_records_to_table(
        load.table or partition,
        schema_name=place.settings.schema if load.table else "projector",
        columns=load.columns,
        records=load.rows,
    )
