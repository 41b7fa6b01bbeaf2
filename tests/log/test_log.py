"""The event log: what is appended comes back as it was, once, with the source's cursor."""

from __future__ import annotations

import asyncio
from collections import Counter

import asyncpg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import TIME_US_MAX, Batch, Event
from events.jetstream_wire import JetstreamDecoder
from events.log import Appender, SourceMoved, read_head, read_partitions
from events.recent import RecentEvents
from projector import schema
from projector.database import Database
from tests.support.corpus import dag_cbor_cid, lines_of, record_of, repo_lines
from tests.support.harness import BROKEN, Stage, fragile, until
from tests.support.histories import budget, made
from tests.support.logs import read_events

PARTITION = 100
CURSOR = "SELECT cursor, appends, events, duplicates FROM projector.source_cursor WHERE source = $1"


async def opened(
    database: Database, source: str = "test", recent: RecentEvents | None = None
) -> Appender:
    connection = await database.connect("test append")
    await schema.create(connection, [], "bsky", partition_events=PARTITION)
    appender = Appender(connection, source, recent=recent, partition_events=PARTITION)
    await appender.open()
    return appender


async def all_of(appender: Appender) -> list[Event]:
    return await read_events(appender.connection, 0, await read_head(appender.connection))


def unplaced(events: list[Event]) -> list[Event]:
    """The events without what the log gave them and what it does not give back."""
    return [msgspec.structs.replace(e, log_offset=0, source_cursor="") for e in events]


# What Postgres cannot store in text decoders refuse; all else must come back.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)
times = st.integers(-62_135_424_000_000_000, TIME_US_MAX)
events = st.builds(
    Event,
    log_offset=st.just(0),
    did=texts,
    kind=texts,
    action=texts,
    collection=st.none() | texts,
    rkey=st.none() | texts,
    rev=st.none() | texts,
    cid=st.none() | texts,
    record=st.none() | st.binary(max_size=300),
    time_us=times,
    source_cursor=texts,
)


@budget(40)
@given(given_events=st.lists(events, max_size=20), cursor=texts)
def test_every_field_comes_back_as_it_was(
    stage: Stage, runner: asyncio.Runner, given_events: list[Event], cursor: str
) -> None:
    async def run() -> None:
        await stage.begin([])
        appender = Appender(stage.admin, "test", partition_events=100_000)
        await appender.open(fill=False)
        await appender.append(Batch(cursor, given_events))
        read = await all_of(appender)
        assert [e.log_offset for e in read] == list(range(1, len(given_events) + 1))
        assert unplaced(read) == unplaced(given_events)
        cursors = await stage.admin.fetch(
            "SELECT source_cursor FROM projector.event_log ORDER BY log_offset"
        )
        assert [row[0] for row in cursors] == [e.source_cursor for e in given_events]
        assert (await stage.admin.fetchrow(CURSOR, "test"))[:2] == (cursor, 1)

    runner.run(run())


@pytest.mark.both_servers
async def test_captured_events_land_byte_for_byte(database: Database) -> None:
    """The captured firehose and three whole repos, and their records hash to their CIDs."""
    lines = lines_of("firehose/expected_v1.jsonl")
    assert len(lines) == 152
    lines += repo_lines()
    decoded = [JetstreamDecoder().decode(line) for line in lines]
    facts = [event for event in decoded if isinstance(event, Event)]
    assert len(facts) == len(lines)
    appender = await opened(database)
    for i in range(0, len(facts), 1000):
        await appender.append(Batch(str(i), facts[i : i + 1000]))
    read = await all_of(appender)
    assert unplaced(read) == unplaced(facts)
    for line, event in zip(lines, read, strict=True):
        message = msgspec.json.decode(line)
        assert (event.did, event.kind) == (message["did"], message["kind"])
        assert event.time_us == message["time_us"]
        if event.kind == "commit":
            commit = message["commit"]
            assert event.action == commit["operation"]
            assert (event.collection, event.rkey) == (commit["collection"], commit["rkey"])
            assert (event.rev, event.cid) == (commit.get("rev"), commit.get("cid"))
            assert event.record == record_of(line)
        if event.record is not None and event.kind == "commit":
            assert dag_cbor_cid(event.record) == event.cid
    await appender.connection.close()


@pytest.mark.parametrize("survive", [False, True])
async def test_events_cursor_and_dead_letters_commit_together(
    database: Database, survive: bool
) -> None:
    """The connection breaks at each statement in turn: all of a batch is in the log or nothing."""
    appender = await opened(database)
    admin = appender.connection

    async def kill(pid: int) -> None:
        await admin.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)

    done = []
    for statement in range(20):
        connection = await fragile(database, application_name="test")
        connection.killer = kill
        broken = Appender(connection, "test", partition_events=PARTITION)
        await broken.open()
        before = await admin.fetchrow(CURSOR, "test"), await read_head(admin)
        connection.statements_left, connection.survive = statement, survive
        batch = Batch(f"c{statement}", [made(statement + 1, "create")], skipped=Counter(x=1))
        try:
            await broken.append(batch)
            break
        except BROKEN:
            after = await admin.fetchrow(CURSOR, "test"), await read_head(admin)
            changed = after != before
            done.append(changed)
            if changed:
                assert after[0][:3] == (f"c{statement}", before[0][1] + 1, before[0][2] + 1)
                assert after[1] == before[1] + 1
        finally:
            connection.terminate()
    assert len(done) >= 6
    assert any(done) == survive
    read = await all_of(appender)
    assert [e.log_offset for e in read] == list(range(1, sum(done) + 2))
    await admin.close()


async def test_a_second_appender_of_the_source_is_refused(database: Database) -> None:
    first, second = await opened(database), await opened(database)
    await first.append(Batch("1", [made(1, "create")]))
    with pytest.raises(SourceMoved):
        await second.append(Batch("1", [made(1, "create")]))
    assert [e.log_offset for e in await all_of(first)] == [1]
    await second.reload()
    assert second.cursor == "1"
    await second.append(Batch("2", [made(2, "create")]))
    with pytest.raises(SourceMoved):
        await first.append(Batch("2", [made(2, "create")]))
    both = [Batch("3", [made(3, "create")])] * 2
    third = await opened(database)
    results = await asyncio.gather(
        *(a.append(b) for a, b in zip((second, third), both, strict=True)), return_exceptions=True
    )
    assert sorted(type(result).__name__ for result in results) == ["Appended", "SourceMoved"]
    assert [e.rev for e in await all_of(first)] == [made(n, "create").rev for n in (1, 2, 3)]
    for appender in (first, second, third):
        await appender.connection.close()


async def test_appenders_of_different_sources_go_side_by_side(database: Database) -> None:
    first, second = await opened(database), await opened(database, "other")
    await first.append(Batch("1", [made(1, "create")]))
    await second.append(Batch("9", [made(2, "create")]))
    await first.append(Batch("2", [made(3, "create")]))
    assert len(await all_of(first)) == 3
    third, fourth = await opened(database), await opened(database, "other")
    assert (third.cursor, fourth.cursor) == ("2", "9")
    for appender in (first, second, third, fourth):
        await appender.connection.close()


async def test_a_batch_without_events_moves_the_cursor_alone(database: Database) -> None:
    appender = await opened(database)
    appended = await appender.append(Batch("7", skipped=Counter({"unwanted": 3, 'a"b': 1})))
    assert appended.last_offset < appended.first_offset
    await appender.append(Batch("8", skipped=Counter({"unwanted": 2})))
    assert await read_head(appender.connection) == 0
    skipped = "SELECT cursor, skipped FROM projector.source_cursor"
    row = await appender.connection.fetchrow(skipped)
    assert row["cursor"] == "8"
    assert msgspec.json.decode(row["skipped"]) == {"unwanted": 5, 'a"b': 1}
    await appender.connection.close()


async def test_a_batch_may_span_partitions_that_are_not_there_yet(database: Database) -> None:
    appender = await opened(database)
    await appender.append(Batch("1", [made(n, "create") for n in range(1, 1 + 5 * PARTITION)]))
    assert [e.log_offset for e in await all_of(appender)] == list(range(1, 1 + 5 * PARTITION))
    partitions = await read_partitions(appender.connection)
    assert [p.first_offset for p in partitions] == list(range(1, 7 * PARTITION, PARTITION))[
        : len(partitions)
    ]
    assert partitions[-1].end_offset > 5.5 * PARTITION
    stranger = await opened(database, "other")
    await stranger.append(Batch("1", [made(n, "create") for n in range(1, 1 + 3 * PARTITION)]))
    # The first appender knows the old partitions only.
    await appender.append(Batch("2", [made(n, "create") for n in range(900, 900 + 2 * PARTITION)]))
    assert [e.log_offset for e in await all_of(appender)] == list(range(1, 1 + 10 * PARTITION))
    for each in (appender, stranger):
        await each.connection.close()


async def test_recent_events_keep_a_rewind_out(database: Database) -> None:
    appender = await opened(database, recent=RecentEvents(50))
    facts = [made(n, "create", rkey=n) for n in range(1, 41)]
    await appender.append(Batch("40", facts))
    appended = await appender.append(Batch("45", [*facts[20:], made(41, "create"), facts[3]]))
    assert (appended.duplicates, appended.first_offset, appended.last_offset) == (21, 41, 41)
    twice = made(50, "delete")
    assert (await appender.append(Batch("46", [twice, twice]))).duplicates == 1
    row = await appender.connection.fetchrow(CURSOR, "test")
    assert tuple(row) == ("46", 3, 42, 22)

    # After a restart the window is filled from the log's tail.
    again = await opened(database, recent=RecentEvents(50))
    assert (await again.append(Batch("47", facts[-30:]))).duplicates == 30
    other = msgspec.structs.replace(facts[-1], cid="other")
    later = msgspec.structs.replace(facts[-1], rev=made(99, "create").rev)
    assert (await again.append(Batch("48", [other, later]))).duplicates == 0
    for each in (appender, again):
        await each.connection.close()


async def test_recent_events_are_forgotten_in_the_end(database: Database) -> None:
    recent = RecentEvents(10)
    facts = [made(n, "create") for n in range(100)]
    for i in range(0, 100, 5):
        assert recent.new_among(facts[i : i + 5]) == facts[i : i + 5]
        recent.add(facts[i : i + 5])
    assert recent.new_among(facts[90:]) == []
    assert recent.new_among(facts[:50]) == facts[:50]


async def test_events_without_a_rev_are_one_only_if_all_is_the_same(database: Database) -> None:
    recent = RecentEvents(10)
    account = made(1, "active")
    recent.add([account])
    assert recent.new_among([account]) == []
    later = msgspec.structs.replace(account, time_us=account.time_us + 1_000_000)
    other = msgspec.structs.replace(account, record=b"{}")
    assert recent.new_among([later, other]) == [later, other]


async def test_a_batch_that_was_not_committed_is_not_remembered(database: Database) -> None:
    """Else its second attempt would leave all of it out."""
    appender = await opened(database, recent=RecentEvents(50))
    await appender.connection.execute("ALTER TABLE projector.event_log ADD CHECK (rkey <> 'r3')")
    batch = Batch("1", [made(n, "create", rkey=n) for n in range(5)])
    with pytest.raises(asyncpg.CheckViolationError):
        await appender.append(batch)
    await appender.connection.execute(
        "ALTER TABLE projector.event_log DROP CONSTRAINT event_log_rkey_check"
    )
    assert (await appender.append(batch)).last_offset == 5
    await appender.connection.close()


async def test_readers_are_woken_with_the_new_head(database: Database) -> None:
    appender = await opened(database)
    heads: list[str] = []
    listener = await database.connect("test listen")
    await listener.add_listener("projector_log", lambda *message: heads.append(message[-1]))
    await appender.append(Batch("1", [made(1, "create"), made(2, "create")]))
    await appender.append(Batch("2", []))
    await appender.append(Batch("3", [made(3, "create")]))

    async def heard() -> bool:
        await listener.fetchval("SELECT 1")
        return len(heads) >= 2

    await until(heard)
    assert heads == ["2", "3"]
    for connection in (listener, appender.connection):
        await connection.close()


async def test_times_before_the_epoch_and_at_the_end_of_time(database: Database) -> None:
    appender = await opened(database)
    times = [-1, 0, TIME_US_MAX]
    facts = [msgspec.structs.replace(made(1, "create"), time_us=n) for n in times]
    await appender.append(Batch("1", facts))
    read = await all_of(appender)
    assert [e.time_us for e in read] == times
    assert read[-1].indexed_at == "9999-12-31T23:59:59.999Z"
    await appender.connection.close()
