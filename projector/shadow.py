"""Shadows: tables that are built beside the live ones, each declaration in a schema of its own."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import msgspec

from events.crashpoints import crash_point
from projector import schema
from projector.declare import AccountProjection, Declaration, Derived, Fed, Projection
from projector.errors import HeldByAnother, UsageError
from projector.home import Home, quoted
from projector.lease import LeaseKeeper

LOAD, KEYS, CATCH_UP = "load", "keys", "catch up"
"""What a build is at: loading the log; the keys with more than one event; following the head."""

GREEN, OLD = "green", "old"
"""What is being built, and what it took the place of."""

FORM: Final = "3"
"""Of what a build has beside its tables: what a program of another form began is begun anew."""

SCHEMAS: Final = "projector_{kind}_{name}"
FIND: Final = """
SELECT name, projection, version, fingerprint, phase, through_offset, settled_offset, definitions,
    noted_from
FROM projector.build WHERE name = $1
"""
REGISTER: Final = """
INSERT INTO projector.build (name, projection, version, fingerprint, phase, through_offset)
VALUES ($1, $2, $3, $4, $5, $6)
"""
CHECKPOINT: Final = """
INSERT INTO projector.checkpoint (projection, version) VALUES ($1, $2)
"""
TABLES: Final = """
SELECT relname FROM pg_class WHERE relnamespace = $1::text::regnamespace AND relkind = 'r'
ORDER BY relname
"""
VERSION: Final = "SELECT version FROM projector.checkpoint WHERE projection = $1"
RENAME: Final = "UPDATE projector.checkpoint SET projection = $2 WHERE projection = $1"
RENAME_LETTERS: Final = """
UPDATE projector.dead_letter SET projection = $2 WHERE projection = $1
"""
AT: Final = "SELECT log_offset FROM projector.checkpoint WHERE projection = $1"
ENTER: Final = "UPDATE projector.build SET phase = $2 WHERE name = $1"
DEFINITIONS: Final = "UPDATE projector.build SET definitions = $2 WHERE name = $1"
FORGET: Final = (
    "DELETE FROM projector.build WHERE name = $1",
    "DELETE FROM projector.checkpoint WHERE projection = $1",
    "DELETE FROM projector.outbox WHERE projection = $1 OR aggregate = $1",
    "DELETE FROM projector.dead_letter WHERE projection = $1",
)
# Whoever feeds it reads its feeds again before its next window.
UNFED: Final = """
WITH gone AS (DELETE FROM projector.feed WHERE aggregate = $1 OR projection = $1
    RETURNING projection)
UPDATE projector.checkpoint SET edits = edits + 1
WHERE projection IN (SELECT projection FROM gone)
"""
LOCK: Final = """
SELECT projection, log_offset FROM projector.checkpoint WHERE projection = ANY($1::text[])
ORDER BY projection FOR UPDATE
"""
# Constraints first: an index of a constraint goes and comes with it.
CONSTRAINTS: Final = """
SELECT quote_ident(conname), pg_get_indexdef(conindid),
    CASE contype WHEN 'p' THEN 'PRIMARY KEY' ELSE 'UNIQUE' END
FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype IN ('p', 'u') ORDER BY conname
"""
INDEXES: Final = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index
WHERE indrelid = $1::text::regclass AND NOT EXISTS (
    SELECT FROM pg_constraint WHERE conindid = indexrelid) ORDER BY 1
"""


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """How far a shadow is built; the fields are the columns of `projector.build`."""

    name: str
    projection: str
    version: int
    fingerprint: str
    phase: str
    through_offset: int
    settled_offset: int
    definitions: tuple[str, ...]
    noted_from: int


def home_of(declaration: Declaration, kind: str = GREEN) -> Home:
    """The home of a declaration's shadow."""
    place = SCHEMAS.format(kind=kind, name=declaration.name)
    return Home(f"{declaration.name}@{kind}", place, place)


def fingerprint(declaration: Declaration) -> str:
    """A digest of what a declaration says, its code included as far as it can be read."""
    parts = [FORM, declaration.ddl, str(declaration.version)]
    if isinstance(declaration, Projection):
        parts += [repr(declaration.table), *declaration.collections, repr(declaration.every_child)]
        parts.append(_source(declaration.row))
        if declaration.judged:
            parts += [repr((declaration.judged.decided, declaration.judged.after))]
            parts.append(_source(declaration.judged.judge))
    elif isinstance(declaration, AccountProjection):
        parts += [declaration.table, *declaration.columns, *sorted(declaration.reads)]
        parts += [str(declaration.claim), _source(declaration.fold)]
    else:
        parts.append(repr(schema.feeds(declaration)))
    if isinstance(declaration, Derived):
        parts += [repr([(n, source.selects) for n, source in declaration.sources.items()])]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _source(code: Callable[..., object]) -> str:
    try:
        return inspect.getsource(inspect.getmodule(code) or code)
    except (OSError, TypeError):
        return ""


async def find(connection: asyncpg.Connection, home: Home) -> Build | None:
    """How far the shadow is built; None where there is none."""
    row = await connection.fetchrow(FIND, home.name)
    return None if row is None else msgspec.convert(dict(row), Build)


async def create(
    connection: asyncpg.Connection,
    declaration: Declaration,
    home: Home,
    through: int,
    *,
    bare: bool = True,
) -> Build:
    """Makes an empty shadow; of a projection without keys and indexes, which come at the end.

    Not `bare` it has them from the start, and follows the log at once, window by window.
    """
    phase = KEYS if isinstance(declaration, Fed) else LOAD if bare else CATCH_UP
    async with connection.transaction():
        await connection.execute(f"CREATE SCHEMA {quoted(home.schema)}")
        for statement in schema.tables_ddl(declaration, home):
            await connection.execute(statement)
        await connection.execute(
            REGISTER, home.name, declaration.name, declaration.version, fingerprint(declaration),
            phase, through,
        )  # fmt: skip
        await connection.execute(CHECKPOINT, home.name, declaration.version)
        if phase == LOAD and isinstance(declaration, Projection):
            await _bare(connection, declaration, home)
    crash_point("rebuild.created")  # Recovery: the build is found, and goes on.
    build = await find(connection, home)
    assert build is not None
    return build


async def _bare(connection: asyncpg.Connection, projection: Projection, home: Home) -> None:
    """Takes keys and indexes off the table, and notes how to make them again."""
    definitions: list[str] = []
    for table in home.tables(projection):
        definitions += await without_indexes(connection, table)
        # It would only be vacuumed and analysed while it fills.
        await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    await connection.execute(DEFINITIONS, home.name, definitions)
    for table in (busy(home), rowless(home)):
        await connection.execute(f'CREATE TABLE {table} (uri text COLLATE "C" NOT NULL)')
    await connection.execute(
        f'CREATE TABLE {removed(home)} (did text COLLATE "C" NOT NULL, log_offset bigint NOT NULL)'
    )


async def without_indexes(connection: asyncpg.Connection, table: str) -> list[str]:
    """Takes keys and indexes off a table; returns how to make them again, in this order: the
    indexes, then the constraints that use them."""
    indexes, constraints = [], []
    for name, index, kind in await connection.fetch(CONSTRAINTS, table):
        indexes.append(index)
        constraints.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {kind} USING INDEX {name}")
        await connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, definition in await connection.fetch(INDEXES, table):
        indexes.append(definition)
        await connection.execute(f"DROP INDEX {name}")
    return [*indexes, *constraints]


def busy(home: Home) -> str:
    """The helper table of at-uris that have more than one event."""
    return f"{quoted(home.schema)}.build_busy"


def rowless(home: Home) -> str:
    """The helper table of at-uris that had a create of which no row was made."""
    return f"{quoted(home.schema)}.build_rowless"


def busy_events(home: Home) -> str:
    """The helper table of the offsets of all events of those, and of all removals."""
    return f"{quoted(home.schema)}.build_event"


def removed(home: Home) -> str:
    """The helper table of accounts that were removed, and by which events."""
    return f"{quoted(home.schema)}.build_removed"


async def checkpoint_of(connection: asyncpg.Connection, home: Home) -> int:
    """The offset through which a shadow is built."""
    return int(await connection.fetchval(AT, home.name))


async def tables_in(connection: asyncpg.Connection, home: Home) -> list[str]:
    """The tables of a shadow, by name."""
    return [row["relname"] for row in await connection.fetch(TABLES, quoted(home.schema))]


async def enter(connection: asyncpg.Connection, home: Home, phase: str) -> None:
    """Notes that a build has come to its next phase."""
    await connection.execute(ENTER, home.name, phase)


async def drop(connection: asyncpg.Connection, home: Home) -> None:
    """Removes a shadow and all that is known of it, whole or not at all."""
    async with connection.transaction():
        await lock_feeders(connection, home)
        await connection.execute(UNFED, home.name)
        for statement in FORGET:
            await connection.execute(statement, home.name)
        await connection.execute(f"DROP SCHEMA IF EXISTS {quoted(home.schema)} CASCADE")
    crash_point("rebuild.dropped")  # Recovery: nothing is left of it.


async def put_back(
    connection: asyncpg.Connection, projection: Projection | AccountProjection
) -> None:
    """Makes the tables that were kept the shadow, which then follows the log from where they were.

    Raises `UsageError` where none are kept, or of another version than the program's.
    """
    old, green = home_of(projection, OLD), home_of(projection)
    version = await connection.fetchval(VERSION, old.name)
    if version is None:
        raise UsageError(
            f"no old tables of {projection.name} are kept: projector rebuild --keep-old keeps them"
        )
    if version != projection.version:
        raise UsageError(
            f"the old tables of {projection.name} are of version {version}, and the program is of "
            f"{projection.version}; use the program of version {version}"
        )
    async with connection.transaction():
        await drop(connection, green)
        await connection.execute(
            f"ALTER SCHEMA {quoted(old.schema)} RENAME TO {quoted(green.schema)}"
        )
        await connection.execute(RENAME, old.name, green.name)
        await connection.execute(RENAME_LETTERS, old.name, green.name)
        through = await checkpoint_of(connection, green)
        await connection.execute(
            REGISTER, green.name, projection.name, version, fingerprint(projection), CATCH_UP,
            through,
        )  # fmt: skip
    crash_point("rollback.renamed")  # Recovery: a rebuild goes on from it.


@asynccontextmanager
async def leases(keeper: LeaseKeeper, names: Sequence[str]) -> AsyncIterator[None]:
    """Holds leases, so that two do not build the same. Raises `HeldByAnother`."""
    renewing = asyncio.create_task(keeper.run())
    try:
        for lease in names:
            if not await keeper.take_within(lease, keeper.lease_seconds * 2):
                raise HeldByAnother(
                    f"another process is at it ({lease}, {await keeper.holder(lease)}); wait for "
                    "it, or stop it"
                )
        yield
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await keeper.close()


async def lock_feeders(connection: asyncpg.Connection, home: Home) -> None:
    """Locks the checkpoints of those who feed an aggregate, in their order."""
    feeders = await connection.fetchval(
        "SELECT coalesce(array_agg(DISTINCT projection), '{}') FROM projector.feed"
        " WHERE aggregate = $1",
        home.name,
    )
    await lock(connection, feeders)


async def lock(connection: asyncpg.Connection, names: Sequence[str]) -> dict[str, int]:
    """Locks checkpoints, in the order of their names, until the transaction ends; says where."""
    return {str(n): int(at) for n, at in await connection.fetch(LOCK, sorted(set(names)))}


def feeders_of(aggregate: Fed, shadows: Sequence[str]) -> list[schema.Feed]:
    """What feeds an aggregate's shadow; `shadows` are the projections that are built as well, whose
    shadows feed it in their place."""
    return [
        (f"{fed[0]}@{GREEN}" if fed[0] in shadows else fed[0], *fed[1:])
        for fed in schema.feeds(aggregate)
    ]
