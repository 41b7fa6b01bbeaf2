"""Postgres goes and comes back under a daemon in this process: it goes on, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from events.sources.generate import GenerateSource
from projector.daemon import Daemon
from projector.database import Database
from projector.embedded_postgres import EmbeddedPostgres
from projector.settings import Settings
from tests.support.engine import DECLARATIONS, append, create, differences
from tests.support.harness import until
from tests.support.own_server import kill_postmaster, make_database, own_server
from tests.support.watch import Watch

EVENTS = 6000
SETTINGS = Settings(
    window_events_max=100, window_events_min=100, poll_seconds=0.2, backoff_seconds_max=0.5
)
END_BACKENDS = """
SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name LIKE 'projector/' || $1 AND datname = current_database()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[EmbeddedPostgres]:
    """A server that may be restarted: nobody else is on it."""
    with own_server() as server:
        yield server


async def put(database: Database, first: int, last: int) -> None:
    """Appends the events of those numbers."""
    source = GenerateSource.parse(f"events={last},seed=61,accounts=200", 500)
    events = [e async for batch in source.batches(str(first)) for e in batch.events]
    await append(database, events, source="restarts")


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[asyncio.Task[None]]:
    """A daemon in this process, stopped in good order at the end."""
    stop = asyncio.Event()
    daemon = Daemon(database, DECLARATIONS, SETTINGS)
    task = asyncio.create_task(daemon.run(stop))
    try:
        yield task
        assert not task.done()
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await task


async def assert_in_step(watch: Watch, database: Database, head: int) -> None:
    assert await watch.head() == head
    await until(watch.is_caught_up, seconds=60)
    assert await differences(database) == []


@pytest.mark.parametrize("how", ["fast", "immediate", "killed"])
async def test_a_daemon_goes_on_after_a_restart(server: EmbeddedPostgres, how: str) -> None:
    database = Database(await make_database(server, f"restart_{how}"))
    await create(database)
    await put(database, 0, EVENTS)
    async with Watch(database.url) as watch, running(database):
        for moment in (2 * EVENTS, 3 * EVENTS):
            await watch.until(watch.progress, moment)
            if how == "killed":
                await kill_postmaster(server)
            else:
                await asyncio.to_thread(server.stop, how)
                await asyncio.to_thread(server.start)
        await put(database, EVENTS, EVENTS + 500)
        await assert_in_step(watch, database, EVENTS + 500)


@pytest.mark.parametrize("role", ["apply %", "merge %", "reader", "leases", "%"])
async def test_a_daemon_goes_on_without_a_connection_that_it_had(
    database: Database, role: str
) -> None:
    await create(database)
    await put(database, 0, EVENTS)
    async with Watch(database.url) as watch, running(database):
        for part in range(1, 7):
            await watch.until(watch.progress, EVENTS + part * EVENTS // 2)
            await until(lambda: watch.value(END_BACKENDS, role))
        await put(database, EVENTS, EVENTS + 500)
        await assert_in_step(watch, database, EVENTS + 500)
        # What it says of itself comes to be true again as well.
        await until(lambda: has_six_leases(watch), seconds=20)


async def has_six_leases(watch: Watch) -> bool:
    return len(await watch.owners()) == 6


async def test_a_daemon_stops_while_the_server_is_away(server: EmbeddedPostgres) -> None:
    database = Database(await make_database(server, "away"))
    await create(database)
    await put(database, 0, EVENTS)
    async with Watch(database.url) as watch:
        async with running(database):
            await watch.until(watch.progress, 2 * EVENTS)
            await asyncio.to_thread(server.stop, "fast")
        server.start()
        async with running(database):
            await assert_in_step(watch, database, EVENTS)


async def test_a_refusal_that_is_not_transient_ends_the_daemon(database: Database) -> None:
    await create(database)
    await put(database, 0, 10)
    async with Watch(database.url) as watch:
        await watch.execute('ALTER TABLE bsky."like" RENAME TO something_else')
        daemon = Daemon(database, DECLARATIONS, SETTINGS)
        with pytest.raises(asyncpg.UndefinedTableError):
            async with asyncio.timeout(30):
                await daemon.run(asyncio.Event())
