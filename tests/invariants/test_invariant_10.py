"""Invariant 10: a blocked projection blocks nobody else; connections are few and always as many."""

from __future__ import annotations

import asyncio

import asyncpg

from events.event import Event
from projector.daemon import Daemon
from projector.database import Database
from projector.settings import Settings
from tests.support import engine
from tests.support.harness import until
from tests.support.histories import COLLECTIONS, made
from tests.support.model import Model

BLOCKED = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'projector/%' AND cardinality(pg_blocking_pids(pid)) > 0
"""
CHECKPOINTS = "SELECT projection, log_offset FROM projector.checkpoint"
OURS = """
SELECT application_name FROM pg_stat_activity
WHERE datname = current_database() AND application_name NOT LIKE '%/test%'
    AND application_name <> 'projector/housekeeping' ORDER BY 1
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'projector/%' AND state LIKE 'idle in transaction%'
"""
CONNECTIONS = ["projector/apply follow", "projector/apply like", "projector/apply post",
               "projector/apply repost", "projector/audit", "projector/leases",
               "projector/merge post_agg", "projector/merge profile_agg",
               "projector/reader"]  # fmt: skip
"""Of windows of many rows each table has one more, to look up ahead; and once a minute there is
one for a moment, for housekeeping."""


def some_of_all(numbers: range) -> list[Event]:
    return [made(n, "create", COLLECTIONS[n % 4], account=n % 5, rkey=n, subject=n % 2)
            for n in numbers]  # fmt: skip


async def checkpoints(connection: asyncpg.Connection) -> dict[str, int]:
    return dict(await connection.fetch(CHECKPOINTS))


async def test_invariant_10_a_blocked_projection_blocks_nobody_else(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 101)))
    holder = await database.connect("test holder")
    watcher = await database.connect("test watcher")
    held = holder.transaction()
    await held.start()
    await holder.execute('LOCK TABLE bsky."like" IN SHARE MODE')
    stop = asyncio.Event()
    daemon = Daemon(database, engine.DECLARATIONS, Settings(window_events_max=10))
    run = asyncio.create_task(daemon.run(stop))

    async def others_are_at(head: int) -> bool:
        at = await checkpoints(watcher)
        assert at.pop("like") == 0
        outbox = await watcher.fetchval("SELECT count(*) FROM projector.outbox")
        return {at[name] for name in ("post", "follow", "repost")} == {head} and outbox == 0

    await until(lambda: others_are_at(100))
    assert await watcher.fetchval(BLOCKED) == 1
    # And they go on with what comes while the one is blocked.
    await engine.append(database, some_of_all(range(101, 151)))
    await until(lambda: others_are_at(150))
    assert await watcher.fetchval(BLOCKED) == 1
    await held.rollback()

    async def all_are_at_the_head() -> bool:
        return (await checkpoints(watcher))["like"] == 150

    await until(all_are_at_the_head)
    stop.set()
    await run
    await engine.project(database)  # what is left of the deltas
    assert await engine.tables_of(database) == Model(some_of_all(range(1, 151))).tables()
    for connection in (holder, watcher):
        await connection.close()


async def test_invariant_10_a_blocked_aggregate_blocks_no_table(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 101)))
    holder = await database.connect("test holder")
    held = holder.transaction()
    await held.start()
    await holder.execute("LOCK TABLE bsky.profile_agg IN EXCLUSIVE MODE")
    stop = asyncio.Event()
    run = asyncio.create_task(Daemon(database, engine.DECLARATIONS, Settings()).run(stop))
    watcher = await database.connect("test watcher")

    async def done() -> bool:
        at = await checkpoints(watcher)
        return {at[name] for name in ("post", "follow", "repost", "like")} == {100} and bool(
            await watcher.fetchval('SELECT sum("likeCount") FROM bsky.post_agg')
        )

    await until(done)
    await until(lambda: watcher.fetchval(f"SELECT ({BLOCKED}) = 1"))
    assert await engine.differences(database) == []
    stop.set()
    await held.rollback()
    await run
    for connection in (holder, watcher):
        await connection.close()


async def test_invariant_10_connections_are_few_and_always_as_many(database: Database) -> None:
    await engine.create(database)
    watcher = await database.connect("test watcher")
    stop = asyncio.Event()
    run = asyncio.create_task(Daemon(database, engine.DECLARATIONS, Settings()).run(stop))

    async def connections() -> list[str]:
        return [row[0] for row in await watcher.fetch(OURS)]

    async def all_there() -> bool:
        return await connections() == CONNECTIONS

    await until(all_there)
    for head in (20, 1000, 2000):
        at = await watcher.fetchval("SELECT head FROM projector.log_head")
        await engine.append(database, some_of_all(range(at + 1, head + 1)))

        async def applied(head: int = head) -> bool:
            # One that has just connected has no name yet; it has one at the next look.
            assert set(await connections()) - {""} <= set(CONNECTIONS)
            at = await checkpoints(watcher)
            return min(at[d.name] for d in engine.DECLARATIONS[:4]) == head

        await until(applied)
        assert await connections() == CONNECTIONS
    # At the log's head, waiting for the network: no transaction is open.
    await until(lambda: watcher.fetchval(f"SELECT ({WAITING}) = 0"))
    stop.set()
    await run
    assert await connections() == []
    await watcher.close()
