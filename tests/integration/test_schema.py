"""The tables made by our DDL are, name for name, those that an AppView reads."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeAlias

import asyncpg
import pytest

from projector.declare import AccountProjection, Declaration, Derived, Projection
from projector.schema import statements
from tests.support.engine import ALL, table_names
from tests.support.shared import require_shared

TABLES = table_names(ALL)

pytestmark = pytest.mark.both_servers

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Shape = Mapping[str, Any]
"""A table as the reference's dump has it: `columns` (a list), `constraints` and `indexes`."""

COLUMNS = """
SELECT column_name AS name, data_type AS type, is_nullable = 'YES' AS nullable,
       column_default AS default, generation_expression AS generated
FROM information_schema.columns
WHERE table_schema = 'bsky' AND table_name = $1
ORDER BY ordinal_position
"""
# Since version 18 NOT NULL is a constraint, too; the columns tell of it already.
CONSTRAINTS = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = format('bsky.%I', $1::text)::regclass AND contype <> 'n'
"""
INDEXES = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'bsky' AND tablename = $1"
COLLATIONS = """
SELECT table_name, column_name, collation_name FROM information_schema.columns
WHERE table_schema = 'bsky' AND data_type IN ('character varying', 'text')
"""


HAS_TRIGRAMS = "SELECT count(*) > 0 FROM pg_available_extensions WHERE name = 'pg_trgm'"


async def shape_of(connection: Connection, table: str) -> Shape:
    return {
        "columns": [dict(row) for row in await connection.fetch(COLUMNS, table)],
        "constraints": {row[0]: row[1] for row in await connection.fetch(CONSTRAINTS, table)},
        "indexes": {row[0]: row[1] for row in await connection.fetch(INDEXES, table)},
    }


OURS = {"op_thread_reply_uri_idx"}
"""Indexes that the engine finds rows by, and the AppView has not (projections/DEVIATIONS.md)."""


def schema_differences(found: Shape, expected: Shape) -> list[str]:
    """One line a difference: what was expected and what is there instead."""
    found = {**found, "indexes": {n: i for n, i in found["indexes"].items() if n not in OURS}}
    theirs = dict(enumerate(expected["columns"]))
    ours = dict(enumerate(found["columns"]))
    return [
        *_differences("column", ours, theirs),
        *_differences("constraint", found["constraints"], expected["constraints"]),
        *_differences("index", found["indexes"], expected["indexes"]),
    ]


def _differences(what: str, found: Mapping[Any, Any], expected: Mapping[Any, Any]) -> list[str]:
    return [
        f"{what} {key}: expected {expected.get(key)}, found {found.get(key)}"
        for key in sorted(found.keys() | expected.keys())
        if found.get(key) != expected.get(key)
    ]


def declared(declaration: Declaration) -> tuple[str, set[str]]:
    """The table of a declaration, and the columns it counts on."""
    if isinstance(declaration, Projection):
        return declaration.table.name, set(declaration.table.columns)
    if isinstance(declaration, Derived):
        return declaration.table, set(declaration.columns)
    if isinstance(declaration, AccountProjection):
        return declaration.table, {*declaration.columns, *declaration.kept}
    counters = {*declaration.counters, *declaration.foreign}
    return declaration.table, {declaration.key} | counters


async def create_all(connection: Connection) -> None:
    await connection.execute("CREATE SCHEMA IF NOT EXISTS bsky")
    for declaration in ALL:
        for statement in statements(declaration.ddl.replace("{schema}", "bsky")):
            await connection.execute(statement)


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[Connection]:
    """A connection to a database that has all our tables."""
    made = await asyncpg.connect(database_url)
    await create_all(made)
    yield made
    await made.close()


async def test_tables_are_those_of_the_appview(connection: Connection) -> None:
    path = require_shared().parent / "reference" / "dataplane_schema.json"
    # The dump was made in another schema than it says.
    text = path.read_text("utf-8").replace("nextval('g_whole.", "nextval('bsky.")
    reference = json.loads(text)["tables"]
    has_trigrams = await connection.fetchval(HAS_TRIGRAMS)
    for table in TABLES:
        if table not in reference:
            continue  # Younger than the dump; tests/peer has the younger schema.
        theirs = reference[table]
        if not has_trigrams:
            # The embedded server has no pg_trgm (CONVENTIONS, trap 9).
            indexes = {n: i for n, i in theirs["indexes"].items() if "gist_trgm_ops" not in i}
            theirs = theirs | {"indexes": indexes}
        assert schema_differences(await shape_of(connection, table), theirs) == []


async def test_ddl_can_run_twice(connection: Connection) -> None:
    await create_all(connection)


async def test_all_text_collates_by_bytes(connection: Connection) -> None:
    rows = await connection.fetch(COLLATIONS)
    assert {row["table_name"] for row in rows} == set(TABLES)
    assert [tuple(row) for row in rows if row["collation_name"] != "C"] == []


async def test_tables_have_the_declared_columns(connection: Connection) -> None:
    for declaration in ALL:
        table, needed = declared(declaration)
        assert needed <= {row["name"] for row in await connection.fetch(COLUMNS, table)}


def test_differences_are_told() -> None:
    column = {"name": "uri", "type": "text"}
    shape = {"columns": [column], "constraints": {"a": "PRIMARY KEY (uri)"}, "indexes": {}}
    other = {"columns": [column, column], "constraints": {}, "indexes": {"i": "x"}}
    assert schema_differences(shape, shape) == []
    assert len(schema_differences(shape, other)) == 3
