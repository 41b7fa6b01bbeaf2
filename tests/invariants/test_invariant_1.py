"""Invariants 1 and 4: offsets are gap-free and in commit order; a repo's events keep theirs."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import asyncpg

from events.event import Batch, Event, to_time_us
from events.log import Appender, read_head, read_partitions
from projector import schema
from projector.database import Database
from tests.support.harness import BROKEN, fragile, until
from tests.support.histories import BEGIN, tid
from tests.support.logs import read_events

PARTITION = 50
BATCHES = 24


def numbered(source: str, number: int) -> Event:
    did = f"did:plc:{source * 24}"
    return Event(0, did, "commit", "delete", "app.bsky.feed.like", f"{number}", tid(number), None,
                 None, to_time_us(BEGIN), f"{number}")  # fmt: skip


async def append_all(appender: Appender, source: str, sizes: list[int]) -> None:
    """Appends batches of these sizes, each in a transaction; whatever breaks is done again."""
    number = 0
    for size in sizes:
        events = [numbered(source, number + i) for i in range(1, size + 1)]
        await appender.append(Batch(cursor=str(number + size), events=events))
        number += size


async def append_breaking(database: Database, admin: asyncpg.Connection, sizes: list[int]) -> None:
    """The same, but of each batch the first attempts break, each a statement later."""

    async def kill(pid: int) -> None:
        await admin.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)

    number = 0
    for size in sizes:
        events = [numbered("f", number + i) for i in range(1, size + 1)]
        for statements in (0, 1, 2, 3, None):
            connection = await fragile(database, application_name="breaking")
            connection.killer = kill
            appender = Appender(connection, "f", partition_events=PARTITION)
            await appender.open(fill=False)
            connection.statements_left = statements
            try:
                await appender.append(Batch(cursor=str(number + size), events=events))
            except BROKEN:
                continue
            finally:
                connection.terminate()
            break
        number += size


async def test_invariant_1_offsets_are_gap_free_and_in_commit_order(database: Database) -> None:
    admin = await database.connect("test admin")
    await schema.create(admin, [], "bsky", partition_events=PARTITION)
    reader = await database.connect("test reader")
    seen: list[Event] = []

    async def read_on() -> None:
        # All that the head says there is can be read, and nothing ever comes in below it.
        head = await read_head(reader)
        seen.extend(await read_events(reader, len(seen), head))
        assert [e.log_offset for e in seen[-100:]] == list(range(head + 1))[1:][-100:]

    connections = {source: await database.connect(f"test {source}") for source in "abcde"}
    work = []
    for i, (source, connection) in enumerate(connections.items()):
        appender = Appender(connection, source, partition_events=PARTITION)
        await appender.open()
        sizes = [1 + (7 * i + 3 * n) % 9 for n in range(BATCHES)]
        work.append(asyncio.create_task(append_all(appender, source, sizes)))
    work.append(asyncio.create_task(append_breaking(database, admin, [3] * 6)))
    while not all(task.done() for task in work):
        await read_on()
    await asyncio.gather(*work)
    await read_on()
    total = sum(1 + (7 * i + 3 * n) % 9 for i in range(5) for n in range(BATCHES)) + 18
    assert [e.log_offset for e in seen] == list(range(1, total + 1))

    by_repo = defaultdict(list)
    for event in seen:
        by_repo[event.did].append(int(event.rkey or 0))
    assert len(by_repo) == 6
    for numbers in by_repo.values():
        assert numbers == list(range(1, len(numbers) + 1))  # invariant 4, and each once

    partitions = await read_partitions(reader)
    assert [p.first_offset for p in partitions[1:]] == [p.end_offset for p in partitions[:-1]]
    assert partitions[-1].end_offset > total + PARTITION // 2
    for partition in partitions:
        first, last = await reader.fetchrow(
            f"SELECT min(log_offset), max(log_offset) FROM projector.{partition.table_name}"
        )
        assert first is None or partition.first_offset <= first <= last < partition.end_offset
    for connection in (admin, reader, *connections.values()):
        await connection.close()


async def test_invariant_1_a_second_appender_waits_for_the_first(database: Database) -> None:
    """An offset is assigned under the lock of the head: whoever is later commits later."""
    admin = await database.connect("test admin")
    await schema.create(admin, [], "bsky")
    holder = await database.connect("test holder")
    appender = Appender(await database.connect("test waiter"), "b")
    await appender.open()
    held = holder.transaction()
    await held.start()
    await holder.execute("UPDATE projector.log_head SET head = head + 1")
    waiting = asyncio.create_task(appender.append(Batch("1", [numbered("b", 1)])))
    pid = appender.connection.get_server_pid()
    blocked = "SELECT cardinality(pg_blocking_pids($1)) > 0"
    await until(lambda: admin.fetchval(blocked, pid))
    assert not waiting.done()
    await held.rollback()
    assert (await waiting).first_offset == 1  # what was rolled back left no gap
    for connection in (admin, holder, appender.connection):
        await connection.close()
