"""What a `bsky` schema consists of, as plain facts: of the peer's, or of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

import asyncpg

from tests.peer.packages import HERE
from tests.peer.process import migrate

SCHEMA_FILE: Final = HERE / "schema.json"

Facts: TypeAlias = dict[str, Any]

TABLES: Final = """
SELECT relname FROM pg_class
WHERE relnamespace = 'bsky'::regnamespace AND relkind = $1 AND relname NOT LIKE 'kysely%'
ORDER BY relname
"""
COLUMNS: Final = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable,
       CASE WHEN attgenerated = '' THEN pg_get_expr(adbin, adrelid) END AS "default",
       CASE WHEN attgenerated <> '' THEN pg_get_expr(adbin, adrelid) END AS generated
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = format('bsky.%I', $1::text)::regclass AND attnum > 0 AND NOT attisdropped
ORDER BY attnum
"""
# Since version 18 NOT NULL is a constraint, too; the columns tell of it already.
CONSTRAINTS: Final = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = format('bsky.%I', $1::text)::regclass AND contype <> 'n'
"""
INDEXES: Final = """
SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'bsky' AND tablename = $1
"""
EXTENSIONS: Final = "SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY extname"
VIEW: Final = "SELECT definition FROM pg_matviews WHERE schemaname = 'bsky' AND matviewname = $1"
PARAMETERS: Final = "SELECT name, value FROM bsky.view_param ORDER BY name"


async def table_facts(connection: asyncpg.Connection, name: str) -> Facts:
    """A table, or a materialized view, as `columns`, `constraints` and `indexes`."""
    return {
        "columns": [dict(row) for row in await connection.fetch(COLUMNS, name)],
        "constraints": {row[0]: row[1] for row in await connection.fetch(CONSTRAINTS, name)},
        "indexes": {row[0]: row[1] for row in await connection.fetch(INDEXES, name)},
    }


async def names(connection: asyncpg.Connection, kind: str = "r") -> list[str]:
    """The tables of the schema (`r`), or its materialized views (`m`)."""
    rows = await connection.fetch(TABLES, kind.encode())
    return [row[0] for row in rows]


async def schema_facts(connection: asyncpg.Connection) -> Facts:
    """All of the peer's schema: extensions, tables, views, and the rows its migrations make."""
    views = {}
    for name in await names(connection, "m"):
        definition = " ".join((await connection.fetchval(VIEW, name)).split())
        views[name] = {**await table_facts(connection, name), "definition": definition}
    return {
        "extensions": [row[0] for row in await connection.fetch(EXTENSIONS)],
        "materialized_views": views,
        "tables": {name: await table_facts(connection, name) for name in await names(connection)},
        "view_param": {row[0]: row[1] for row in await connection.fetch(PARAMETERS)},
    }


async def peer_schema(url: str) -> Facts:
    """The facts of the schema that the peer's own migrations make in an empty database."""
    await migrate(url)
    connection = await asyncpg.connect(url)
    try:
        return await schema_facts(connection)
    finally:
        await connection.close()


def kept() -> Facts:
    """The facts as they are kept in the repository."""
    facts: Facts = json.loads(SCHEMA_FILE.read_bytes())
    return facts


def keep(facts: Facts) -> None:
    """Writes them, a table a line."""
    SCHEMA_FILE.write_text("".join(_lines(facts)), "utf-8")


def _lines(facts: Facts) -> Iterable[str]:
    yield "{\n"
    for i, (part, value) in enumerate(sorted(facts.items())):
        yield (",\n" if i else "") + json.dumps(part) + ":"
        if isinstance(value, Mapping):
            inner = (f"  {json.dumps(key)}:{_json(value[key])}" for key in sorted(value))
            yield "{\n" + ",\n".join(inner) + "\n}"
        else:
            yield _json(value)
    yield "\n}\n"


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
