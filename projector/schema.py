"""The engine's schema and the tables of projections: create, migrate, check."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib import resources
from operator import itemgetter
from typing import Final

import asyncpg

from events.log import Appender
from projector.declare import Companion, Fed, Kept, Projection
from projector.effects import EventByEvent
from projector.errors import SchemaMismatch
from projector.home import Home, quoted
from projector.statements import duplicates_ddl, hidden_ddl, versions_ddl

CREATE_BASE: Final = """
CREATE SCHEMA IF NOT EXISTS projector;
CREATE TABLE IF NOT EXISTS projector.migration (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""
APPLIED: Final = "SELECT number FROM projector.migration ORDER BY number"
RECORD: Final = "INSERT INTO projector.migration (number, name) VALUES ($1, $2)"
HAS_ENGINE: Final = "SELECT to_regclass('projector.migration') IS NOT NULL"
REGISTER: Final = """
INSERT INTO projector.checkpoint (projection, version, table_schema) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING
"""
APART: Final = """
SELECT projection, table_schema FROM projector.checkpoint WHERE table_schema IS NOT NULL
"""
HAS_TABLES: Final = """
SELECT EXISTS (SELECT FROM pg_class
    WHERE relnamespace = to_regnamespace(quote_ident($1)) AND relkind IN ('r', 'p'))
"""
VERSIONS: Final = "SELECT projection, version FROM projector.checkpoint"
FED: Final = """
SELECT projection, counter, by_column, child, unless_column FROM projector.feed WHERE aggregate = $1
"""
FEED: Final = """
INSERT INTO projector.feed (projection, aggregate, counter, by_column, child, unless_column)
VALUES ($1, $2, $3, $4, $5, $6)
"""
# Whoever writes the rows that are counted waits here, or is waited for.
COUNTED: Final = """
SELECT projection, log_offset FROM projector.checkpoint WHERE projection = ANY($1::text[])
ORDER BY projection FOR UPDATE
"""
FEEDS_CHANGED: Final = """
UPDATE projector.checkpoint SET edits = edits + 1 WHERE projection = ANY($1::text[])
"""
UNREGISTER: Final = "DELETE FROM projector.checkpoint WHERE projection = $1"
EXISTS: Final = "SELECT to_regclass($1) IS NOT NULL"
FOREIGN_VERSION: Final = 0
"""The version of a projection whose tables another indexer has filled: it waits for a rebuild."""
FEEDS_MIGRATION: Final = "migration 0004_feeds"
# An arbitrary number of our own: whoever changes the schema holds this advisory lock.
SCHEMA_LOCK: Final = 7_305_816_512_004


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered change of the engine's tables."""

    number: int
    name: str
    sql: str


_statement = re.compile(r"((?:\$\$.*?\$\$|.)+?)(?:;[ \t]*(?:\n|\Z)|\Z)", re.DOTALL)


def migrations() -> list[Migration]:
    """The engine's migrations in their order."""
    found = []
    for entry in resources.files("projector").joinpath("migrations").iterdir():
        match = re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name)
        if match:
            found.append(Migration(int(match[1]), match[2], entry.read_text("utf-8")))
    return sorted(found, key=lambda m: m.number)


def statements(sql: str) -> list[str]:
    """Splits SQL into its statements: each ends with `;` at the end of a line, outside of `$$`."""
    parts = _statement.findall(sql)
    return [part.strip() for part in parts if _without_comments(part)]


def _without_comments(part: str) -> str:
    return re.sub(r"--[^\n]*", "", part).strip()


async def create(
    connection: asyncpg.Connection,
    declarations: Sequence[Kept],
    schema: str,
    *,
    companions: Sequence[Companion] = (),
    waiting: Collection[str] = (),
    partition_events: int = 10_000_000,
) -> list[str]:
    """Brings the database to what the code works with; says what it did, a line each.

    Safe to run again and by several at once. Engine tables are migrated; tables of projections,
    and those beside them, are created where they are missing, and never altered. `waiting` are
    projections whose tables another has filled. Raises `SchemaMismatch` for rows in the tables of
    a projection that is new and not among them.
    """
    done: list[str] = []
    await connection.execute("SELECT pg_advisory_lock($1)", SCHEMA_LOCK)
    try:
        done += await _migrate(connection)
        await _check_apart(connection, declarations, schema, making=True)
        await connection.execute(f"CREATE SCHEMA IF NOT EXISTS {quoted(schema)}")
        # Before feeds were data every aggregate that was there was fed.
        fed_before = FEEDS_MIGRATION in done
        for declaration in declarations:
            foreign = declaration.name in waiting
            done += await _create_tables(
                connection, declaration, schema, fed_before=fed_before, foreign=foreign
            )
        for companion in companions:
            for statement in statements(companion.ddl.replace("{schema}", quoted(schema))):
                await connection.execute(statement)
        await Appender(connection, "", partition_events=partition_events).make_partitions(1)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", SCHEMA_LOCK)
    return done


async def _migrate(connection: asyncpg.Connection) -> list[str]:
    done = []
    async with connection.transaction():
        for statement in statements(CREATE_BASE):
            await connection.execute(statement)
    applied = {row["number"] for row in await connection.fetch(APPLIED)}
    for migration in migrations():
        if migration.number in applied:
            continue
        async with connection.transaction():
            for statement in statements(migration.sql):
                await connection.execute(statement)
            await connection.execute(RECORD, migration.number, migration.name)
        done.append(f"migration {migration.number:04d} {migration.name}")
    return done


async def _create_tables(
    connection: asyncpg.Connection,
    declaration: Kept,
    schema: str,
    *,
    fed_before: bool,
    foreign: bool,
) -> list[str]:
    home = Home(declaration.name, schema)
    async with connection.transaction():
        for statement in tables_ddl(declaration, home):
            await connection.execute(statement)
        own_schema = schema if isinstance(declaration, EventByEvent) else None
        version = FOREIGN_VERSION if foreign else declaration.version
        entry = (declaration.name, version, own_schema)
        new = await connection.execute(REGISTER, *entry) == "INSERT 0 1"
        if foreign:
            return [f"projection {declaration.name}, which waits for: projector rebuild "
                    f"{declaration.name}"] if new else []  # fmt: skip
        if isinstance(declaration, Fed) and (new or fed_before):
            fed = await _feed(connection, declaration, whatever_is_there=fed_before and not new)
            if not fed:
                await connection.execute(UNREGISTER, declaration.name)
                return [
                    f"nothing for {declaration.name}: what it counts is there already; run: "
                    f"projector rebuild {declaration.name}"
                ]
        if new and await has_rows(connection, declaration, home):
            raise SchemaMismatch(
                f"the tables of {declaration.name} have rows that another indexer wrote; run: "
                "projector init --attach, which says what to do with them"
            )
    return [f"projection {declaration.name}"] if new else []


async def has_rows(connection: asyncpg.Connection, declaration: Kept, home: Home) -> bool:
    """Whether any table of the declaration has rows; a list of duplicates, of its collections."""
    tables: dict[str, str] = {}
    if isinstance(declaration, EventByEvent):
        return False  # It has a schema of its own.
    if not isinstance(declaration, Projection):
        tables[f"{quoted(home.schema)}.{quoted(declaration.table)}"] = ""
    else:
        tables = dict.fromkeys(home.tables(declaration), "")
        if declaration.table.unique:
            own = f" WHERE split_part(uri, '/', 4) = '{declaration.collection}'"
            tables[home.list(declaration.table)] = own
    for table, own in tables.items():
        # Asked apart: a statement that names a table must find it.
        if await connection.fetchval(EXISTS, table) and (
            await connection.fetchval(f"SELECT EXISTS (SELECT FROM {table}{own})")
        ):
            return True
    return False


def tables_ddl(declaration: Kept, home: Home) -> list[str]:
    """The statements that make a declaration's tables in their home, where they are missing."""
    ddl = statements(declaration.ddl.replace("{schema}", quoted(home.schema)))
    if isinstance(declaration, Projection):
        ddl += versions_ddl(declaration, home) + duplicates_ddl(declaration.table, home)
        ddl += hidden_ddl(declaration, home)
    return ddl


async def _feed(connection: asyncpg.Connection, aggregate: Fed, *, whatever_is_there: bool) -> bool:
    """Has the rows counted from now on; False where rows are there that were not counted."""
    counted = sorted({count.of.name for count in aggregate.counters.values()})
    checkpoints = await connection.fetch(COUNTED, counted)
    if not whatever_is_there and any(offset for _, offset in checkpoints):
        return False
    await connection.executemany(FEED, [(f[0], aggregate.name, *f[1:]) for f in feeds(aggregate)])
    await connection.execute(FEEDS_CHANGED, counted)
    return True


Feed = tuple[str, str, str, str | None, str | None]
"""A projection, a counter, the column it counts by, the child table, and unless which column."""


def feeds(aggregate: Fed) -> list[Feed]:
    """By what an aggregate, or a derived table, is fed."""
    found = [
        (c.of.name, counter, c.by, c.child, c.unless) for counter, c in aggregate.counters.items()
    ]
    return sorted(found, key=itemgetter(0, 1))


async def check(
    connection: asyncpg.Connection, declarations: Sequence[Kept], schema: str | None = None
) -> None:
    """Makes sure that database and code fit.

    Raises `SchemaMismatch` with what to do: the engine's tables are missing, older or newer, a
    projection is missing or of another version, or the tables in `schema` are kept otherwise.
    """
    if not await connection.fetchval(HAS_ENGINE):
        raise SchemaMismatch("the database has no projector schema; run: projector init")
    applied = {row["number"] for row in await connection.fetch(APPLIED)}
    known = {m.number for m in migrations()}
    if applied - known:
        raise SchemaMismatch(
            f"the database is at migration {max(applied)}, newer than this program "
            f"({max(known)}); upgrade the program"
        )
    if known - applied:
        raise SchemaMismatch("the engine's tables are older than this program; run: projector init")
    if schema is not None:
        await _check_apart(connection, declarations, schema)
    versions = {row["projection"]: row["version"] for row in await connection.fetch(VERSIONS)}
    for declaration in declarations:
        _check_version(declaration, versions.get(declaration.name))
        if isinstance(declaration, Fed):
            rows = await connection.fetch(FED, declaration.name)
            fed = sorted((tuple(row) for row in rows), key=itemgetter(0, 1))
            if fed != feeds(declaration):
                raise SchemaMismatch(
                    f"{declaration.name} counts other things in the database than in the program; "
                    f"run: projector rebuild {declaration.name}"
                )


async def _check_apart(
    connection: asyncpg.Connection,
    declarations: Sequence[Kept],
    schema: str,
    *,
    making: bool = False,
) -> None:
    """What is kept event by event must have its schema to itself, and always the same."""
    schemas = await apart(connection)
    for declaration in declarations:
        name = declaration.name
        if not isinstance(declaration, EventByEvent):
            continue
        if schemas.get(name, schema) != schema:
            raise SchemaMismatch(
                f"compat={name} keeps its tables in the schema {schemas[name]}, not in {schema}; "
                f"name that (--schema), or {anew(name)}"
            )
        if making and name not in schemas and await connection.fetchval(HAS_TABLES, schema):
            raise SchemaMismatch(
                f"the schema {schema} has tables already, which compat={name} cannot share; name "
                f"a new one: --schema {schema}_{name}"
            )
    names = {declaration.name for declaration in declarations}
    others = [name for name, its in schemas.items() if its == schema and name not in names]
    if declarations and others:
        raise SchemaMismatch(
            f"the tables in the schema {schema} are kept with compat={others[0]}; set "
            f"PROJECTOR_COMPAT={others[0]}, or name another schema (--schema)"
        )


async def apart(connection: asyncpg.Connection) -> dict[str, str]:
    """What is kept event by event in this database, each with the schema of its tables."""
    return {row[0]: row[1] for row in await connection.fetch(APART)}


def anew(name: str) -> str:
    """What to do so that what is kept event by event under a name is built from the log again."""
    return (
        "to build it anew drop its schema, DELETE FROM projector.checkpoint WHERE projection = "
        f"'{name}', and run: projector init"
    )


def _check_version(declaration: Kept, version: int | None) -> None:
    name = declaration.name
    if version is None:
        raise SchemaMismatch(
            f"{name} is not in the database; run: projector init, which says if it must be rebuilt"
        )
    if version == FOREIGN_VERSION:
        raise SchemaMismatch(
            f"the rows of {name} in the database are another indexer's; once the log has all that "
            f"they came from, run: projector rebuild {name}"
        )
    if version != declaration.version:
        raise SchemaMismatch(
            f"{name} is of version {version} in the database and {declaration.version} in the "
            f"program; run: projector rebuild {name}, or use the program of version {version}"
        )
