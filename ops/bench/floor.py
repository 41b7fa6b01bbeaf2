"""The floor: plain binary COPY of the same final rows into the same tables with the same indexes.

No projector can be faster than that without dropping indexes. Every table has a connection of its
own, all work at once, and the rows are in memory before the clock starts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from events.event import Batch
from events.log import COLUMNS
from ops.bench.place import Place, Usage
from projector.database import APPLY_SETTINGS, Database
from projector.declare import Projection
from projector.statements import listed, quoted

INSERTABLE: Final = """
SELECT attname::text FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
ORDER BY attnum
"""


@dataclass(frozen=True, slots=True)
class Load:
    """The rows of one table, as asyncpg takes them."""

    table: str
    columns: tuple[str, ...]
    rows: list[tuple[object, ...]]


def tables_of(place: Place) -> list[str]:
    """The tables that the projections write, each once."""
    names: dict[str, None] = {}
    for declaration in place.declarations:
        if isinstance(declaration, Projection):
            names[declaration.table.name] = None
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


async def copy_rows(
    place: Place, database: Database, loads: Sequence[Load], into: list[Usage]
) -> None:
    """Loads all tables at once, one COPY and one transaction each."""
    connections = [await database.connect("floor", **APPLY_SETTINGS) for _ in loads]
    try:
        with place.metered(into):
            await asyncio.gather(
                *(
                    connection.copy_records_to_table(
                        load.table,
                        schema_name=place.settings.schema,
                        columns=load.columns,
                        records=load.rows,
                    )
                    for connection, load in zip(connections, loads, strict=True)
                )
            )
    finally:
        for connection in connections:
            await connection.close()


async def copy_log(
    place: Place, database: Database, batches: Sequence[Batch], into: list[Usage]
) -> None:
    """Loads the log's rows by one COPY into its partition: the floor of appending."""
    connection = await database.connect("floor")
    try:
        partition, now = await _partition_and_time(connection)
        events = (event for batch in batches for event in batch.events)
        rows = [
            (
                offset, e.did, e.kind, e.action, e.collection, e.rkey, e.rev, e.cid,
                e.source_cursor, e.record, e.occurred_at, now,
            )
            for offset, e in enumerate(events, 1)
        ]  # fmt: skip
        with place.metered(into):
            await connection.copy_records_to_table(
                partition, schema_name="projector", columns=COLUMNS, records=rows
            )
    finally:
        await connection.close()


async def _partition_and_time(connection: asyncpg.Connection) -> tuple[str, object]:
    row = await connection.fetchrow(
        "SELECT table_name, now() FROM projector.log_partition ORDER BY first_offset LIMIT 1"
    )
    assert row is not None
    return row[0], row[1]
