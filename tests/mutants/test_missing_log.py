"""Tests that only a mutant showed to be missing: of the log, its reader, and what ingest tells."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import msgspec
import pytest

from events.event import Batch, Event
from events.log import Appender, read_head
from projector.database import Database
from projector.ingest import LogSink, ingest
from projector.lease import LeaseKeeper
from projector.reader import LogReader
from tests.support import engine
from tests.support.histories import LIKE, made
from tests.support.logs import read_events

PARTITION = 100


async def test_a_batch_that_ends_right_after_the_last(database: Database) -> None:
    """Its last event has the first offset that no partition is made for yet."""
    await engine.create(database, [])
    connection = await database.connect("test append")
    await connection.execute("DROP TABLE projector.event_log_000000000000001")
    await connection.execute("DELETE FROM projector.log_partition")
    appender = Appender(connection, "test", partition_events=PARTITION)
    await appender.open()
    assert [p.end_offset for p in appender.partitions] == [PARTITION + 1]
    await appender.append(Batch("1", [made(n, "create") for n in range(1, PARTITION + 2)]))
    read = await read_events(connection, 0, PARTITION + 1)
    assert [event.log_offset for event in read] == list(range(1, PARTITION + 2))
    await connection.close()


async def test_a_reader_serves_who_is_behind(database: Database) -> None:
    """One projector begins in the middle of a block, then another asks for its beginning."""
    await engine.create(database)
    await engine.append(database, [made(n, "create", rkey=n) for n in range(1, 21)])
    reader = LogReader(database, [LIKE], block_events=10)
    await reader.refresh()
    for after, last in ((5, 10), (2, 10), (0, 10), (13, 20), (10, 20)):
        window = await reader.window(after, [LIKE], 100)
        assert [event.log_offset for event in window.commits] == list(range(after + 1, last + 1))
    await reader.close()


async def test_a_reader_reads_no_further_than_the_head(database: Database) -> None:
    """What is asked for beyond the head is not read yet: it will come."""
    await engine.create(database)
    await engine.append(database, [made(n, "create", rkey=n) for n in range(1, 6)])
    reader = LogReader(database, [LIKE], block_events=10)
    await reader.refresh()
    assert (await reader.window(0, [LIKE], 100)).through == 5
    await engine.append(database, [made(n, "create", rkey=n) for n in range(6, 9)])
    await reader.refresh()
    window = await reader.window(5, [LIKE], 100)
    assert [event.log_offset for event in window.commits] == [6, 7, 8]
    await reader.close()


class Honest:
    """A source that looks, whenever it is told of a cursor, whether the log has it."""

    name = "honest"
    rewinds = False

    def __init__(self, database: Database) -> None:
        self.database = database
        self.found: list[tuple[str, str | None, int]] = []

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        for n in range(1, 6):
            yield Batch(str(n), [made(n, "create", rkey=n)])

    async def committed(self, cursor: str) -> None:
        connection = await self.database.connect("test looks")
        saved = await connection.fetchval("SELECT cursor FROM projector.source_cursor")
        self.found.append((cursor, saved, await read_head(connection)))
        await connection.close()


async def test_a_source_is_told_of_what_is_in_the_log(database: Database) -> None:
    """Told before, it would trim what a crash then loses."""
    await engine.create(database, [])
    source = Honest(database)
    keeper = LeaseKeeper(database)
    sink = LogSink(database, source, keeper, recent_events=0, partition_events=PARTITION)
    await ingest(source, sink, asyncio.Event())
    await keeper.close()
    assert source.found == [(str(n), str(n), n) for n in range(1, 6)]


@pytest.mark.parametrize(
    ("kind", "action", "removes"),
    [
        ("account", "deleted", True),
        ("sync", "reset", True),
        *(("account", a, False) for a in ("takendown", "suspended", "deactivated", "desynchronized",
                                          "throttled", "active", "inactive")),
        ("sync", "backfilled", False),
        ("identity", "refresh", False),
        ("unknown", "deleted", False),
        ("erased", "deleted", False),
    ],
)  # fmt: skip
def test_only_a_deletion_removes_an_account(kind: str, action: str, removes: bool) -> None:
    """All other states may end, and the account has its rows again."""
    event: Event = msgspec.structs.replace(made(1, "deleted"), kind=kind, action=action)
    assert event.removes_account == removes
