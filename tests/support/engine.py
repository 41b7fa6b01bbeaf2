"""Drives the engine in tests: events into the log, the log into tables, tables into rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import asyncpg

from events.event import Batch, Event
from events.log import Appender
from projections.follow import follows
from projections.like import likes
from projections.post import posts
from projections.post_agg import post_agg
from projections.profile_agg import profile_agg
from projections.repost import reposts
from projector import derived, schema
from projector.aggregate import audit
from projector.daemon import Daemon
from projector.database import Database
from projector.declare import Aggregate, Declaration, Derived, Projection
from projector.registry import installed
from projector.settings import Settings

DECLARATIONS: list[Declaration] = [posts, follows, likes, reposts, profile_agg, post_agg]
AGGREGATES = [d for d in DECLARATIONS if isinstance(d, Aggregate)]
ALL: list[Declaration] = installed()
"""Everything that the project keeps; `DECLARATIONS` are those with the most events."""

KEYS = {"profile_agg": "did", "post_agg": "uri"}


async def create(database: Database, declarations: Sequence[Declaration] = DECLARATIONS) -> None:
    """Makes the schema in an empty database."""
    connection = await database.connect("test")
    try:
        await schema.create(connection, declarations, "bsky", partition_events=100_000)
    finally:
        await connection.close()


async def append(
    database: Database, events: Sequence[Event], *, source: str = "test", batch_events: int = 5000
) -> None:
    """Appends events to the log as a source would, without leaving repeats out."""
    connection = await database.connect("test append")
    try:
        appender = Appender(connection, source, partition_events=100_000)
        await appender.open()
        for i in range(0, len(events), batch_events):
            part = list(events[i : i + batch_events])
            await appender.append(Batch(cursor=part[-1].source_cursor, events=part))
    finally:
        await connection.close()


async def project(
    database: Database,
    *,
    window_events: int = 10_000,
    declarations: Sequence[Declaration] = DECLARATIONS,
    only: Sequence[str] = (),
) -> None:
    """Runs one daemon until it has caught up with the log."""
    settings = Settings(window_events_max=window_events, window_events_min=window_events)
    daemon = Daemon(database, declarations, settings, only=only)
    await asyncio.wait_for(daemon.run(asyncio.Event(), until_caught_up=True), 240)


async def rows_of(connection: asyncpg.Connection, table: str) -> list[dict[str, Any]]:
    """All rows of a table of projections, without the numbers that Postgres gives them."""
    rows = await connection.fetch(f'SELECT * FROM bsky."{table}"')
    return [{name: cell for name, cell in row.items() if name != "id"} for row in rows]


def order(row: Mapping[str, Any]) -> tuple[str, str]:
    """By the key, as far as tables have the same; then by all there is."""
    key = row.get("uri") or row.get("postUri") or row.get("recordUri") or row.get("did") or ""
    return str(key), repr(tuple(row.values()))


async def tables_of(
    database: Database, names: Iterable[str] | None = None
) -> dict[str, list[dict[str, Any]]]:
    """All rows of tables, in one snapshot, each table in the order of its first column."""
    names = names or table_names(DECLARATIONS)
    connection = await database.connect("test read")
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            found = {name: await rows_of(connection, name) for name in names}
    finally:
        await connection.close()
    return {name: sorted(rows, key=order) for name, rows in found.items()}


def table_names(declarations: Sequence[Declaration]) -> list[str]:
    """All tables of some declarations, the list of duplicates among them."""
    names = ["duplicate_record"]
    for declaration in declarations:
        if isinstance(declaration, Projection):
            names += [
                declaration.table.name,
                *(child.name for child in declaration.children if not child.hidden),
            ]
        else:
            names.append(declaration.table)
    return names


async def differences(
    database: Database, declarations: Sequence[Declaration] = DECLARATIONS
) -> list[Any]:
    """Where invariant 7 does not hold."""
    aggregates = [d for d in declarations if isinstance(d, Aggregate)]
    tables = [d for d in declarations if isinstance(d, Derived)]
    connection = await database.connect("test audit")
    try:
        wrong = await audit(connection, aggregates, "bsky")
        return [*wrong, *await derived.audit(connection, tables, "bsky")]
    finally:
        await connection.close()


def counts(tables: Mapping[str, list[dict[str, Any]]]) -> Counter[str]:
    """How many rows each table has."""
    return Counter({name: len(rows) for name, rows in tables.items()})
