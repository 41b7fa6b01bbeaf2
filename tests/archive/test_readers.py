"""Readers read on, and miss nothing, while partitions go to the archive and come back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from events.event import Event
from events.history import WholeLog
from events.log import LogCorrupt, Partition, read_head
from projector import partitions
from projector.archiving import Policy
from projector.database import Database
from tests.archive.conftest import PARTITION, Log, append, generated
from tests.support.harness import until

Happening = Callable[[], Awaitable[object]]
FIRST = Partition("event_log_000000000000001", 1, 1 + PARTITION)
KNOWN = "SELECT EXISTS (SELECT FROM projector.log_archive)"
ATTACHED = """
SELECT EXISTS (SELECT FROM pg_inherits WHERE inhparent = 'projector.event_log'::regclass
    AND inhrelid = to_regclass('projector.event_log_000000000000001'))
"""


class Interrupted(asyncpg.Connection):
    """A connection that has something happen right before its n-th statement from now."""

    statements_left: int | None = None
    happening: Happening | None = None

    async def _meanwhile(self) -> None:
        if self.statements_left is not None:
            self.statements_left -= 1
            if self.statements_left < 0 and self.happening is not None:
                self.statements_left = None
                await self.happening()

    async def fetch(self, *args: Any, **kwargs: Any) -> Any:
        await self._meanwhile()
        return await super().fetch(*args, **kwargs)

    async def fetchrow(self, *args: Any, **kwargs: Any) -> Any:
        await self._meanwhile()
        return await super().fetchrow(*args, **kwargs)

    async def fetchval(self, *args: Any, **kwargs: Any) -> Any:
        await self._meanwhile()
        return await super().fetchval(*args, **kwargs)


async def at_every_statement(
    log: Log, begin: Happening, happening: Happening, read: Callable[..., Awaitable[list[Event]]]
) -> int:
    """Reads again and again, each time with the happening one statement later; returns how often
    it happened. Each reader is new, or has read before."""
    connection: Interrupted = await asyncpg.connect(log.database.url, connection_class=Interrupted)
    happened = 0
    try:
        for warm in (False, True):
            for statement in range(20):
                await begin()
                whole = WholeLog()
                if warm:
                    connection.statements_left = None
                    await read(whole, connection)
                connection.happening, connection.statements_left = happening, statement
                found = await read(whole, connection)
                await whole.close()
                assert found == [e for e in log.events if e.log_offset <= 250]
                if connection.statements_left is not None:
                    break
                happened += 1
    finally:
        await connection.close()
    return happened


async def all_at_once(whole: WholeLog, connection: asyncpg.Connection) -> list[Event]:
    return await whole.read(connection, 0, 250)


async def by_account(whole: WholeLog, connection: asyncpg.Connection) -> list[Event]:
    dids = await connection.fetch("SELECT DISTINCT did FROM everybody")
    return await whole.of_accounts(connection, [row[0] for row in dids], 0, 250)


@pytest.mark.parametrize("read", [all_at_once, by_account])
async def test_a_partition_goes_or_comes_at_any_moment_of_a_read(
    log: Log, read: Callable[..., Awaitable[list[Event]]]
) -> None:
    await log.append(await generated(300))
    await log.connection.execute("CREATE TABLE everybody (did text)")
    await log.connection.executemany(
        "INSERT INTO everybody VALUES ($1)", [(e.did,) for e in log.events]
    )
    await log.archive(keep_live=True)

    async def nothing() -> None:
        pass

    async def go() -> None:
        await log.archive()

    async def come() -> None:
        await log.archiver().restore(1)

    async def go_and_come() -> None:
        await go()
        await come()

    async def come_and_go() -> None:
        await come()
        await go()

    happened = await at_every_statement(log, come, go, read)
    happened += await at_every_statement(log, go, come, read)
    happened += await at_every_statement(log, come, go_and_come, read)
    happened += await at_every_statement(log, go, come_and_go, read)
    assert happened > 20


async def test_a_snapshot_keeps_its_partitions(log: Log, database: Database) -> None:
    await log.append(await generated(500))
    reader = await database.connect("test reader")
    whole = WholeLog()
    snapshot = reader.transaction(isolation="repeatable_read", readonly=True)
    await snapshot.start()
    assert await read_head(reader) == 500
    archiving = asyncio.create_task(log.archive())
    watch = await database.connect("test watch")
    # The file is known to all, but not to this snapshot: it must find the partition.
    await until(lambda: watch.fetchval(KNOWN))
    assert not await reader.fetchval(KNOWN)
    await until(
        lambda: watch.fetchval("""
        SELECT EXISTS (SELECT FROM pg_stat_activity WHERE query LIKE '%unnest($1::int[]%'
            AND datname = current_database() AND pid <> pg_backend_pid())""")
    )
    assert await watch.fetchval(ATTACHED)
    assert await whole.read(reader, 0, 500) == log.events
    assert not archiving.done()
    await snapshot.rollback()
    assert len(await archiving) == 2
    assert not await watch.fetchval(ATTACHED)
    assert await whole.read(reader, 0, 500) == log.events
    await reader.close()
    await watch.close()


async def test_a_snapshot_that_stays_is_waited_for_so_long_and_no_longer(
    log: Log, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await log.append(await generated(500))
    reader = await database.connect("test reader")
    snapshot = reader.transaction(isolation="repeatable_read", readonly=True)
    await snapshot.start()
    await read_head(reader)

    async def at_once(connection: asyncpg.Connection) -> None:
        await wait(connection, seconds=0)

    wait = partitions.wait_for_older_snapshots
    monkeypatch.setattr(partitions, "wait_for_older_snapshots", at_once)
    done, limited = await log.archiver().run(Policy())
    assert done == []
    assert limited is not None and "dropped by the next run" in limited
    assert len(await log.partitions()) == 3
    await snapshot.rollback()
    await reader.close()
    assert [m.action for m in await log.archive()] == ["moved", "moved"]
    assert await log.read() == log.events


@pytest.mark.both_servers
async def test_readers_and_ingest_go_on_while_partitions_come_and_go(
    log: Log, database: Database
) -> None:
    events = await generated(4000)
    await log.append(events[:1500])
    done = asyncio.Event()
    scans = 0

    async def ingest() -> None:
        connection = await database.connect("test ingest")
        try:
            for i in range(1500, 4000, 100):
                await append(connection, events[i : i + 100])
        finally:
            await connection.close()

    async def keep_reading(batch_events: int, isolation: Any) -> None:
        nonlocal scans
        connection = await database.connect("test reader")
        whole = WholeLog()
        try:
            while not done.is_set():
                async with connection.transaction(isolation=isolation, readonly=True):
                    head = await read_head(connection)
                    found = [
                        event
                        async for part in whole.scan(connection, 0, head, batch_events=batch_events)
                        for event in part
                    ]
                assert [e.log_offset for e in found] == list(range(1, head + 1))
                assert [e.record for e in found] == [e.record for e in events[:head]]
                scans += 1
        finally:
            await whole.close()
            await connection.close()

    async def move() -> None:
        try:
            while await read_head(log.connection) < 4000:
                await log.archive(keep_events=300)
                await log.archiver().restore(401)
            await log.archive()
        finally:
            done.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(ingest())
        group.create_task(keep_reading(333, "read_committed"))
        group.create_task(keep_reading(5000, "repeatable_read"))
        group.create_task(move())
    assert scans > 4
    assert await log.partitions() == []


async def test_what_is_nowhere_is_said(log: Log) -> None:
    await log.append(await generated(450))
    whole = WholeLog()
    assert await whole.read(log.connection, 450, 700) == []
    assert await whole.read(log.connection, 440, 700) == log.events[440:]
    await log.connection.execute("DROP TABLE projector.event_log_000000000000201")
    assert await whole.read(log.connection, 0, 200) == log.events[:200]
    for after, through in [(0, 450), (200, 201), (300, 310)]:
        with pytest.raises(LogCorrupt, match="neither in a partition of the log nor in the arch"):
            await whole.read(log.connection, after, through, ["app.bsky.feed.post"])


async def test_a_detach_that_was_broken_off_is_ended_by_the_next_run(
    log: Log, database: Database
) -> None:
    await log.append(await generated(450))
    await log.archive(keep_live=True)
    # A statement's lock on the log holds up the second half of a detach.
    reader = await database.connect("test reader")
    held = reader.transaction()
    await held.start()
    await reader.execute("LOCK TABLE projector.event_log IN ACCESS SHARE MODE")
    archiver = await database.connect("test archiver")
    detaching = asyncio.create_task(
        archiver.execute(
            f"ALTER TABLE projector.event_log DETACH PARTITION projector.{FIRST.table_name}"
            " CONCURRENTLY"
        )
    )
    pending = "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhdetachpending)"
    await until(lambda: log.connection.fetchval(pending))
    # Queries that begin now do not see it, and those who read the whole log do not mind.
    assert await log.read() == log.events
    await log.connection.execute("SELECT pg_terminate_backend($1)", archiver.get_server_pid())
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await detaching
    assert await log.connection.fetchval(pending)
    await held.rollback()
    await reader.close()
    assert [m.action for m in await log.archive()] == ["moved", "moved"]
    assert await log.read() == log.events
