"""The Redis source against real servers: order, position, group, trimming, and every trouble."""

from __future__ import annotations

import gzip
from contextlib import aclosing

import msgspec
import pytest

from events.errors import SourceError
from events.event import Batch, Event, Undecodable
from events.jetstream_wire import decode
from events.sources.redis import parse_place
from tests.support.redis_case import (
    GROUP,
    STREAM,
    Said,
    a_sink,
    a_source,
    commit_all,
    event,
    events_of,
    fill,
    group_facts,
    has_lag,
    ids,
    numbers,
    plain,
    read,
    take,
)
from tests.support.redis_server import RedisServer
from tests.support.shared import require_shared


async def test_real_events_come_back_equal(server: RedisServer, said: Said) -> None:
    lines = gzip.decompress((require_shared() / "golden/whole/events.jsonl.gz").read_bytes())
    sent = [each for each in map(decode, lines.splitlines()) if isinstance(each, Event)]
    async with a_sink(server, said) as sink:
        for start in range(0, len(sent), 1000):
            cursor = str(start) if start else None
            await sink.append("g", cursor, Batch(str(start + 1000), sent[start : start + 1000]))
    source = a_source(server, said, batch_events_max=700)
    got = events_of(await read(source, None, len(sent)))
    assert plain(got) == plain(sent)
    assert not said.lines


async def test_resumes_after_each_batch(server: RedisServer, said: Said) -> None:
    await fill(server, 35)
    whole = await read(a_source(server, said), None, 35)
    assert [len(each.events) for each in whole] == [10, 10, 10, 5]
    assert whole[0].events[-1].source_cursor == whole[0].cursor
    done = 0
    for each in whole[:-1]:
        done += len(each.events)
        rest = await read(a_source(server, said), each.cursor, 35 - done)
        assert numbers(events_of(rest)) == list(range(done, 35))
    assert not said.lines


async def test_the_group_shows_what_is_read_and_not_committed(
    server: RedisServer, said: Said
) -> None:
    await fill(server, 30)
    source = a_source(server, said)
    async with aclosing(source.batches(None)) as stream:
        first, second = await take(stream, 20)
        facts = await group_facts(server)
        assert (facts["pending"], facts["last-delivered-id"].decode()) == (20, second.cursor)
        await source.committed(first.cursor)
        facts = await group_facts(server)
        assert (facts["pending"], facts["last-delivered-id"].decode()) == (10, second.cursor)
        if await has_lag(server):
            assert facts["lag"] == 10
        assert (await ids(server))[0] == first.cursor
        await source.committed(second.cursor)
        assert (await group_facts(server))["pending"] == 0
    await fill(server, 7, first=30)
    again = a_source(server, said)
    async with aclosing(again.batches(second.cursor)) as stream:
        await take(stream, 10)
        facts = await group_facts(server)
        assert facts["pending"] == 10
        if await has_lag(server):
            assert facts["lag"] == 7
    assert not said.lines


async def test_lag_is_true_again_after_a_crash(server: RedisServer, said: Said) -> None:
    await fill(server, 50)
    source = a_source(server, said, trim=False)
    taken = await read(source, None, 30)
    await source.committed(taken[0].cursor)
    async with aclosing(a_source(server, said).batches(taken[0].cursor)) as stream:
        assert numbers(events_of(await take(stream, 10))) == list(range(10, 20))
        facts = await group_facts(server)
        assert facts["pending"] == 10
        if await has_lag(server):
            assert facts["lag"] == 30
    assert not said.lines


async def test_trims_to_the_committed_entry_and_no_further(server: RedisServer, said: Said) -> None:
    await fill(server, 30)
    source = a_source(server, said)
    taken = await read(source, None, 30)
    before = await ids(server)
    await source.committed(taken[1].cursor)
    assert await ids(server) == before[19:]
    kept = a_source(server, said, trim=False)
    await commit_all(kept, await read(kept, taken[1].cursor, 10))
    assert await ids(server) == before[19:]


async def test_keeps_what_another_group_has_not_dealt_with(server: RedisServer, said: Said) -> None:
    await fill(server, 30)
    before = await ids(server)
    await server.run("XGROUP", "CREATE", STREAM, "other", before[4])
    source = a_source(server, said)
    await commit_all(source, await read(source, None, 20))
    assert await ids(server) == before[4:]
    words = ("XREADGROUP", "GROUP", "other", "o", "COUNT", 12, "STREAMS", STREAM, ">")
    await server.run(*words)
    await server.run("XACK", STREAM, "other", *before[5:8])
    await source.committed(before[19])
    assert await ids(server) == before[8:]
    await server.run("XACK", STREAM, "other", *before[8:17])
    await source.committed(before[19])
    assert await ids(server) == before[16:]


async def test_crash_between_append_and_committed(server: RedisServer, said: Said) -> None:
    await fill(server, 30)
    taken = await read(a_source(server, said), None, 20)
    # The log has the first batch only: the second comes again, to a consumer of another name.
    heir = a_source(server, said, consumer="c2")
    rest = await read(heir, taken[0].cursor, 20)
    assert numbers(events_of(rest)) == list(range(10, 30))
    # The log has both, but Redis was never told.
    rest = await read(a_source(server, said), taken[1].cursor, 10)
    assert numbers(events_of(rest)) == list(range(20, 30))
    assert not said.lines


async def test_what_dead_consumers_left_pending_is_cleared(server: RedisServer, said: Said) -> None:
    await fill(server, 30)
    before = await ids(server)
    source = a_source(server, said, trim=False)
    async with aclosing(source.batches(None)) as stream:
        taken = await take(stream, 20)
        await source.committed(taken[0].cursor)
        # A consumer that is gone holds what the log has.
        await server.run("XCLAIM", STREAM, GROUP, "ghost", 0, *before[:3], "FORCE")
        assert (await group_facts(server))["pending"] == 13
        await source.committed(taken[1].cursor)
        assert (await group_facts(server))["pending"] == 0
    words = ("XREADGROUP", "GROUP", GROUP, "ghost", "COUNT", 15, "STREAMS", STREAM, ">")
    await server.run(*words)
    async with aclosing(a_source(server, said).batches(before[9])) as stream:
        assert numbers(events_of(await take(stream, 10))) == list(range(10, 20))
        assert (await group_facts(server))["pending"] == 10


async def test_entries_that_are_no_events(server: RedisServer, said: Said) -> None:
    letter = Undecodable(b"\xff{raw", "malformed", "not JSON")
    async with a_sink(server, said) as sink:
        await sink.append("u", None, Batch("1", [event(1)], [letter]))
    await server.run("XADD", STREAM, "*", "event", "{garbage")
    await server.run("XADD", STREAM, "*", "labels", b"\x00\xff", "n", "1")
    await server.run("XADD", STREAM, "*", "raw", "x", "reason", "Any Thing", "error", "a\nb")
    await server.run("XADD", STREAM, "*", "n", "1", "event", "[]")
    (got,) = await read(a_source(server, said), None, 6)
    assert numbers(got.events) == [1]
    assert [(each.raw, each.reason) for each in got.dead] == [
        (b"\xff{raw", "malformed"),
        (b"{garbage", "malformed"),
        (b'[["labels",{"$bytes":"AP8"}],["n","1"]]', "no-event-field"),
        (b"x", "forwarded"),
        (b"[]", "malformed"),
    ]
    assert [each.error for each in got.dead][0::3] == ["not JSON", "a b"]
    assert got.cursor == got.dead[-1].source_cursor == (await ids(server))[-1]


async def test_reads_less_at_once_when_entries_are_large(server: RedisServer, said: Said) -> None:
    for _ in range(12):
        await server.run("XADD", STREAM, "*", "raw", b"x" * 10_000)
    batches = await read(a_source(server, said, batch_bytes_max=30_000), None, 12)
    assert [len(each.dead) for each in batches] == [10, 2]
    source = a_source(server, said, batch_bytes_max=30_000, batch_events_max=4)
    batches = await read(source, None, 12)
    assert [len(each.dead) for each in batches] == [4, 3, 3, 2]


async def test_reads_and_trims_while_the_server_is_out_of_memory(
    server: RedisServer, said: Said
) -> None:
    await fill(server, 30)
    await server.run("CONFIG", "SET", "maxmemory", 1)
    source = a_source(server, said)
    async with aclosing(source.batches(None)) as stream:
        taken = await take(stream, 20)
        await source.committed(taken[0].cursor)
        assert (await ids(server))[0] == taken[0].cursor
        await server.run("CONFIG", "SET", "maxmemory", 0)
        await source.committed(taken[1].cursor)
        await take(stream, 10)
        assert (await group_facts(server))["pending"] == 10
    assert said.has("reading without it") and said.has("kept up to date again")


async def test_reads_a_server_that_takes_no_writes(server: RedisServer, said: Said) -> None:
    await fill(server, 20)
    async with aclosing(a_source(server, said).batches(None)) as stream:
        await take(stream, 10)
        await server.run("REPLICAOF", "127.0.0.1", server.port)
        await server.run("CONFIG", "SET", "replica-serve-stale-data", "yes")
        assert numbers(events_of(await take(stream, 10))) == list(range(10, 20))
    assert said.has("reading without it")


async def test_what_waiting_does_not_mend_is_an_error(server: RedisServer, said: Said) -> None:
    await server.run("SET", STREAM, "a string")
    with pytest.raises(SourceError, match="WRONGTYPE"):
        await read(a_source(server, said), None, 1)
    with pytest.raises(SourceError, match="is no position"):
        await read(a_source(server, said), "1700", 1)
    secret = server.url.replace("//", "//:s3cret@")
    with pytest.raises(SourceError) as caught:
        await read(a_source(server, said, url=secret), None, 1)
    assert "s3cret" not in str(caught.value) + a_source(server, said, url=secret).name


@pytest.mark.parametrize(
    ("text", "name", "group"),
    [
        ("redis://h?stream=s", "redis://h:6379/0?stream=s", "projector"),
        ("redis://u:p@H:7/2?stream=s&group=g", "redis://h:7/2?stream=s", "g"),
        ("rediss://:p@[::1]:7?stream=a:b", "rediss://[::1]:7/0?stream=a:b", "projector"),
        ("unix:///a/b.sock?db=1&stream=s", "unix:///a/b.sock?db=1&stream=s", "projector"),
    ],
)
def test_addresses(text: str, name: str, group: str) -> None:
    place = parse_place(text)
    assert (place.name, place.group) == (name, group)
    assert "stream" not in place.url
    assert "p@" not in repr(place)


@pytest.mark.parametrize(
    "text",
    [
        "redis://h",
        "redis://h?stream=",
        "redis://h?stream=s&x=1",
        "redis://h:port/0?stream=s",
        "redis://u:hidden@h/zero?stream=s",
        "redis://h?stream=s&db=1",
        "http://h?stream=s",
    ],
)
def test_wrong_addresses(text: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_place(text)
    assert "hidden" not in str(caught.value)


def test_events_of_the_tests_differ() -> None:
    assert len({msgspec.json.encode(event(number)) for number in range(200)}) == 200
