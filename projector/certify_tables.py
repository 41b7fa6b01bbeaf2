"""Certifying DDL: what the tables it made lack of what the declarations say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from projector.database import Database
from projector.declare import Aggregate, Projection
from projector.home import quoted

COLUMNS: Final = """
SELECT attname FROM pg_attribute
WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""
UNIQUE: Final = """
SELECT ARRAY(SELECT a.attname::text FROM pg_attribute AS a WHERE a.attrelid = i.indrelid
    AND a.attnum = ANY((i.indkey::int2[])[0:i.indnkeyatts - 1])) AS columns
FROM pg_index AS i WHERE i.indrelid = $1::text::regclass AND i.indisunique
    AND i.indpred IS NULL AND i.indexprs IS NULL
"""
DUPLICATES: Final = ("uri", "cid", "duplicateOf", "indexedAt")
"""The columns of a list of duplicates (`Table.duplicates`)."""
OURS: Final = 'projections.rows.ddl("duplicate_record.sql")'


async def ddl_faults(
    database: Database, projection: Projection, aggregates: Sequence[Aggregate], schema: str
) -> list[str]:
    """What tables lack that the DDL made: of a projection, and of the aggregates over it."""
    table = projection.table
    keys = [("uri",)] + ([table.unique] if table.unique else [])
    wanted: list[tuple[str, Sequence[str], list[tuple[str, ...]]]] = [
        (table.name, table.columns, keys)
    ]
    wanted += [(c.name, c.columns, []) for c in projection.children if not c.hidden]
    if table.unique:
        wanted.append((table.duplicates, DUPLICATES, [("uri",)]))
    wanted += [(a.table, (a.key, *a.counters, *a.foreign), [(a.key,)]) for a in aggregates]
    connection = await database.connect("certify look")
    try:
        found = []
        for name, columns, uniques in wanted:
            found += await _lacking(connection, schema, name, columns, uniques)
        return found
    finally:
        await connection.close()


async def _lacking(
    connection: asyncpg.Connection,
    schema: str,
    name: str,
    columns: Sequence[str],
    uniques: Sequence[Sequence[str]],
) -> list[str]:
    relation = f"{quoted(schema)}.{quoted(name)}"
    if not await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", relation):
        why = ""
        if tuple(columns) == DUPLICATES:
            why = f": unique needs it, as {OURS} has it"
        return [f"its DDL makes no table {name} in {{schema}}{why}"]
    there = {row[0] for row in await connection.fetch(COLUMNS, relation)}
    keys = [set(row["columns"]) for row in await connection.fetch(UNIQUE, relation)]
    found = [
        f"its DDL makes {name} without the column {column}, which the engine writes"
        for column in columns
        if column not in there
    ]
    return found + [
        f"its DDL gives {name} no primary key or unique index on {', '.join(unique)} alone"
        for unique in uniques
        if set(unique) not in keys
    ]
