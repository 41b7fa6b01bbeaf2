"""The log's sink: each batch exactly once, whatever becomes of the connection and its answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

import asyncpg
import pytest

from events.event import Batch, Event
from events.log import Appended, read_head
from projector import schema
from projector.database import Database, is_transient
from projector.errors import HeldByAnother
from projector.ingest import LogSink, ingest
from projector.lease import LeaseKeeper
from tests.support.harness import Fragile, fragile, until
from tests.support.histories import made
from tests.support.logs import read_events

# A COMMIT waits for this lock, and with it the append's answer.
SLOW_COMMIT = """
CREATE FUNCTION public.slow() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_advisory_xact_lock_shared(42); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON projector.source_cursor
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.slow()
"""
WAITING_AT_COMMIT = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'projector/append'
AND wait_event = 'advisory'
"""
WAITING_FOR_THE_ROW = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'projector/append'
AND wait_event_type = 'Lock' AND wait_event <> 'advisory'
"""

KEEPERS: list[LeaseKeeper] = []
"""Those of a test, to be closed after it."""


class Listed:
    """A source of given batches, which never rewinds."""

    name = "listed"
    rewinds = False

    def __init__(self, batches: list[Batch]) -> None:
        self.given = batches
        self.told: list[str] = []

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        for batch in self.given:
            if cursor is None or int(batch.cursor) > int(cursor):
                yield batch

    async def committed(self, cursor: str) -> None:
        self.told.append(cursor)


@pytest.fixture
async def admin(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect("test admin")
    await schema.create(connection, [], "bsky", partition_events=10_000)
    yield connection
    while KEEPERS:
        await KEEPERS.pop().close()
    await connection.close()


def sink_of(database: Database, source: Listed) -> LogSink:
    keeper = LeaseKeeper(database, lease_seconds=5)
    KEEPERS.append(keeper)
    return LogSink(database, source, keeper, recent_events=0, partition_events=10_000)


def batches(count: int, events: int = 3) -> list[Batch]:
    return [
        Batch(str(i), [made(10 * i + n, "create", rkey=n) for n in range(events)])
        for i in range(1, count + 1)
    ]


async def assert_exactly(admin: asyncpg.Connection, expected: list[Batch]) -> None:
    found: list[Event] = await read_events(admin, 0, await read_head(admin))
    assert [e.rev for e in found] == [e.rev for batch in expected for e in batch.events]
    assert [e.log_offset for e in found] == list(range(1, len(found) + 1))
    cursor = "SELECT cursor FROM projector.source_cursor WHERE source = 'listed'"
    assert await admin.fetchval(cursor) == expected[-1].cursor


async def test_a_source_that_ends_is_in_the_log_and_told_so(
    database: Database, admin: asyncpg.Connection
) -> None:
    source = Listed(batches(5))
    progress = await ingest(source, sink_of(database, source), asyncio.Event())
    assert (progress.events, progress.head) == (15, 15)
    assert source.told == ["1", "2", "3", "4", "5"]
    await assert_exactly(admin, source.given)
    # Begun again it finds its cursor, and nothing to do.
    assert (await ingest(source, sink_of(database, source), asyncio.Event())).events == 0


class Waiting(Listed):
    """A source that has one batch, and then waits for more."""

    has_ended = False

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        try:
            yield self.given[0]
            await asyncio.Event().wait()
        finally:
            self.has_ended = True


class Taken:
    """A sink that belongs to somebody else by the time of the first batch."""

    signs = ()

    async def open(self) -> str | None:
        return None

    async def put(self, batch: Batch) -> Appended:
        await asyncio.sleep(0)  # The next one is being read by now.
        raise HeldByAnother("taken")

    async def close(self) -> None:
        return None


async def test_a_sink_that_fails_is_what_is_said_though_the_source_is_being_read() -> None:
    """Found by flushing Redis: it was *asynchronous generator is already running* instead."""
    source = Waiting(batches(1))
    with pytest.raises(HeldByAnother, match="taken"):
        await ingest(source, Taken(), asyncio.Event())
    assert source.has_ended


async def test_killed_backends_lose_and_repeat_nothing(
    database: Database, admin: asyncpg.Connection
) -> None:
    """The appending backend is ended again and again, wherever it is."""
    source = Listed(batches(60, events=20))
    run = asyncio.create_task(ingest(source, sink_of(database, source), asyncio.Event()))
    kills = 0
    while not run.done():
        kills += await admin.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'projector/append'"
            " AND EXISTS (SELECT FROM projector.source_cursor WHERE appends >= $1)",
            5 * kills,
        )
    await run
    assert kills >= 5
    assert source.told == [batch.cursor for batch in source.given]
    await assert_exactly(admin, source.given)


@dataclass(frozen=True)
class Breaking(Database):
    """A database whose connections are fragile, all of them in `made`."""

    made: list[Fragile] = field(default_factory=list)

    async def connect(self, role: str, **settings: str) -> asyncpg.Connection:
        connection = await fragile(self, application_name=f"projector/{role}", **settings)
        self.made.append(connection)
        return connection


@pytest.mark.parametrize("survive", [False, True])
async def test_each_batch_once_wherever_the_connection_breaks(
    database: Database, admin: asyncpg.Connection, survive: bool
) -> None:
    """At every statement of an append in turn, before it or after it, COMMIT among them."""

    async def kill(pid: int) -> None:
        await admin.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)

    source = Listed(batches(8))
    breaking = Breaking(database.url)
    sink = sink_of(database, source)
    sink.database = breaking
    await sink.open()
    for statement, batch in enumerate(source.given):
        connection = breaking.made[-1]
        connection.killer, connection.survive = kill, survive
        connection.statements_left = statement
        await sink.put(batch)
        connection.statements_left = None
    await sink.close()
    # BEGIN, the cursor, the head, COPY, NOTIFY, COMMIT: after each of them a new connection.
    assert len(breaking.made) == 1 + 6
    await assert_exactly(admin, source.given)


async def test_an_answer_that_never_came_to_a_commit_still_under_way(
    database: Database, admin: asyncpg.Connection
) -> None:
    """The connection breaks while Postgres commits. The next attempt must wait for that, or it
    would find the counter where it was and put the batch again."""
    source = Listed(batches(3))
    sink = sink_of(database, source)
    await sink.open()
    await sink.put(source.given[0])
    await admin.execute(SLOW_COMMIT)
    await admin.execute("SELECT pg_advisory_lock(42)")
    putting = asyncio.create_task(sink.put(source.given[1]))
    await until(lambda: admin.fetchval(WAITING_AT_COMMIT))
    assert sink._appender is not None
    sink._appender.connection.terminate()
    await until(lambda: admin.fetchval(WAITING_FOR_THE_ROW))
    await admin.execute("SELECT pg_advisory_unlock(42)")
    await asyncio.wait_for(putting, 20)
    await sink.put(source.given[2])
    await sink.close()
    await assert_exactly(admin, source.given)


async def test_a_batch_refused_at_commit_is_put_again(
    database: Database, admin: asyncpg.Connection
) -> None:
    """The backend is ended at COMMIT, so nothing of the batch is in the log."""
    source = Listed(batches(3))
    sink = sink_of(database, source)
    await sink.open()
    await sink.put(source.given[0])
    await admin.execute(SLOW_COMMIT)
    await admin.execute("SELECT pg_advisory_lock(42)")
    putting = asyncio.create_task(sink.put(source.given[1]))
    pid = await until(lambda: admin.fetchval(WAITING_AT_COMMIT))
    await admin.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)
    await admin.execute("SELECT pg_advisory_unlock(42)")
    await asyncio.wait_for(putting, 20)
    await sink.put(source.given[2])
    await sink.close()
    await assert_exactly(admin, source.given)


async def test_who_was_taken_over_does_not_take_the_others_batch_for_its_own(
    database: Database, admin: asyncpg.Connection
) -> None:
    """Our connection breaks before COMMIT; another takes the source over and appends a smaller
    batch. The counter is where our commit would have put it, and yet our batch is not there."""
    source = Listed(batches(3))
    sink = sink_of(database, source)
    await sink.open()
    await sink.put(source.given[0])
    assert sink._appender is not None
    sink._appender.connection.terminate()
    await admin.execute("DELETE FROM projector.lease")
    other = sink_of(database, source)
    await other.open()
    whole = source.given[1]
    await other.put(Batch("1", whole.events[:1]))
    with pytest.raises(HeldByAnother):
        await sink.put(whole)
    await other.put(Batch("2", whole.events[1:]))
    await other.put(source.given[2])
    for each in (sink, other):
        await each.close()
    await assert_exactly(admin, source.given)


async def test_a_source_is_held_by_one_at_a_time(
    database: Database, admin: asyncpg.Connection
) -> None:
    source = Listed(batches(1))
    first, second = sink_of(database, source), sink_of(database, source)
    second.patience_seconds = 0.2
    await first.open()
    with pytest.raises(HeldByAnother, match="listed is being ingested by"):
        await second.open()
    await first.close()
    await second.open()
    await second.close()


async def test_a_statement_on_a_link_that_is_just_dying_is_worth_another_attempt(
    database: Database, admin: asyncpg.Connection
) -> None:
    """Between the server's last word and the end of the stream asyncpg is in a state of its own."""
    connection = await database.connect("test victim")
    await admin.fetchval("SELECT pg_terminate_backend($1, 10000)", connection.get_server_pid())
    errors: list[Exception] = []
    while not connection.is_closed():
        try:
            await connection.execute("SELECT 1")
        except Exception as error:
            errors.append(error)
    errors.append(asyncpg.InternalClientError("cannot switch to state 15; another operation (2)"))
    assert all(is_transient(error) for error in errors)
