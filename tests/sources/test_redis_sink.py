"""The Redis sink against real servers: exactly once, one writer, bounded, nothing dropped."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import msgspec
import pytest

from events.errors import SourceError
from events.event import Batch, Event, Undecodable
from events.streams.sink import RedisSink, SourceClaimed
from tests.support.redis_case import (
    STREAM,
    Said,
    a_sink,
    a_source,
    batch,
    event,
    events_of,
    ids,
    numbers,
    read,
    take,
)
from tests.support.redis_server import CuttingProxy, RedisServer


async def append_all(sink: RedisSink, batches: list[Batch]) -> None:
    before: str | None = None
    for each in batches:
        await sink.append("up", before, each)
        before = each.cursor


async def stored(server: RedisServer, said: Said, count: int) -> list[int]:
    return numbers(events_of(await read(a_source(server, said), None, count)))


async def test_saves_the_cursor_where_others_look_for_it(server: RedisServer, said: Said) -> None:
    async with a_sink(server, said) as sink:
        assert await sink.cursor("up") is None
        await sink.append("up", None, batch("c1", 0, 3))
        await sink.append("up", "c1", Batch("c2"))
        assert await sink.cursor("up") == "c2"
        await sink.append("up", "c2", Batch("c2", [event(3)]))
    assert await server.run("GET", f"{STREAM}:cursor:up") == b"c2"
    assert await stored(server, said, 4) == [0, 1, 2, 3]
    assert not said.lines


async def test_an_empty_cursor_counts_as_none(server: RedisServer, said: Said) -> None:
    async with a_sink(server, said) as sink:
        await sink.append("up", None, batch("", 0, 1))
        assert await sink.cursor("up") is None
        await sink.append("up", "", batch("c1", 1, 1))
        assert await sink.cursor("up") == "c1"


async def test_a_second_writer_of_a_source_is_refused(server: RedisServer, said: Said) -> None:
    async with a_sink(server, said) as one, a_sink(server, said) as two:
        await one.append("up", None, batch("c1", 0, 2))
        with pytest.raises(SourceClaimed, match="the cursor of up is c1, not absent"):
            await two.append("up", None, batch("c1", 0, 2))
        await two.append("another", None, batch("c1", 2, 2))
        await two.append("up", "c1", batch("c2", 4, 1))
        with pytest.raises(SourceClaimed):
            await one.append("up", "c1", batch("c2", 4, 1))
    assert await stored(server, said, 5) == [0, 1, 2, 3, 4]


async def test_a_lost_reply_does_not_write_twice(server: RedisServer, said: Said) -> None:
    async with CuttingProxy(server.port) as proxy, a_sink(server, said, url=proxy.url) as sink:
        await sink.append("up", None, batch("c1", 0, 5))
        for number in range(2, 6):
            proxy.cut_reply_to(b"EVALSHA")
            await sink.append("up", f"c{number - 1}", batch(f"c{number}", number * 5, 5))
        # The cursor need not move for that.
        proxy.cut_reply_to(b"EVALSHA")
        await sink.append("up", "c5", batch("c5", 30, 5))
        assert proxy.cuts == 5
    assert await stored(server, said, 30) == [*range(5), *range(10, 35)]
    assert len(await ids(server)) == 30


async def test_a_stalled_server_does_not_write_twice(server: RedisServer, said: Said) -> None:
    async with a_sink(server, said, timeout_seconds=0.1) as sink:
        await sink.append("up", None, batch("c1", 0, 5))
        server.pause()
        appending = asyncio.create_task(sink.append("up", "c1", batch("c2", 5, 5)))
        await said.wait_for("waiting")
        server.resume()
        await appending
        await sink.append("up", "c2", batch("c3", 10, 5))
    assert await stored(server, said, 15) == list(range(15))
    assert len(await ids(server)) == 15


async def test_waits_for_a_server_that_is_away(server: RedisServer, said: Said) -> None:
    async with a_sink(server, said) as sink:
        await sink.append("up", None, batch("c1", 0, 5))
        await server.kill()
        appending = asyncio.create_task(sink.append("up", "c1", batch("c2", 5, 5)))
        await said.wait_for("waiting")
        await server.start()
        await appending
        assert await sink.cursor("up") == "c2"
    assert await stored(server, said, 10) == list(range(10))


async def test_lost_writes_are_noticed(server: RedisServer, said: Said) -> None:
    async with a_sink(server, said) as sink:
        await sink.append("up", None, batch("c1", 0, 5))
        await server.restart(with_data=False)
        with pytest.raises(SourceClaimed, match="it was at c1: Redis lost writes, all"):
            await sink.append("up", "c1", batch("c2", 5, 5))
        assert await sink.cursor("up") is None


async def test_the_loss_of_the_last_writes_is_noticed(
    server: RedisServer, said: Said, tmp_path: Path
) -> None:
    async with a_sink(server, said) as sink:
        await sink.append("up", None, batch("c1", 0, 5))
        await server.copy_data(tmp_path / "copy")
        await sink.append("up", "c1", batch("c2", 5, 5))
        await server.restore_data(tmp_path / "copy")
        with pytest.raises(SourceClaimed, match=r"the cursor of up is c1, not c2 .* lost writes;"):
            await sink.append("up", "c2", batch("c3", 10, 5))


async def test_a_full_stream_stops_the_writer_and_drops_nothing(
    server: RedisServer, said: Said
) -> None:
    batches = [batch(f"c{number}", number * 10, 10) for number in range(1, 21)]
    source = a_source(server, Said())
    async with a_sink(server, said, entries_max=50) as sink:
        writing = asyncio.create_task(append_all(sink, batches))
        await said.wait_for("the stream is full: 50 entries, 50 at most; waiting")
        assert len(await ids(server)) == 50
        assert await sink.cursor("up") == "c5"
        got: list[Batch] = []
        async with aclosing(source.batches(None)) as stream:
            while len(got) < 20:
                got += await take(stream, 10)
                await source.committed(got[-1].cursor)
                assert await server.run("XLEN", STREAM) <= 50
        await writing
    assert numbers(events_of(got)) == list(range(10, 210))
    assert said.has("goes on")


async def test_a_batch_beyond_the_bound_goes_in_steps(server: RedisServer, said: Said) -> None:
    letters = [Undecodable(b"raw", "malformed", "x")] * 25
    large = Batch("c1", batch("c1", 0, 75).events, letters)
    source = a_source(server, Said())
    async with a_sink(server, said, entries_max=20) as sink:
        writing = asyncio.create_task(sink.append("up", None, large))
        await said.wait_for("full")
        assert await sink.cursor("up") is None
        got: list[Batch] = []
        async with aclosing(source.batches(None)) as stream:
            while sum(len(each.events) + len(each.dead) for each in got) < 100:
                got += await take(stream, 1)
                await source.committed(got[-1].cursor)
        await writing
        assert await sink.cursor("up") == "c1"
    assert numbers(events_of(got)) == list(range(75))
    assert sum(len(each.dead) for each in got) == 25


async def test_a_bound_that_lets_nothing_in_is_refused(server: RedisServer, said: Said) -> None:
    with pytest.raises(SourceError, match="at least 2"):
        RedisSink(server.url, STREAM, report=said, entries_max=1)


async def test_out_of_memory_stops_the_writer_and_drops_nothing(
    server: RedisServer, said: Said
) -> None:
    def heavy(number: int) -> Event:
        record = b'{"number":%d,"weight":"%b"}' % (number, b"x" * 20_000)
        return msgspec.structs.replace(event(number), record=record)

    batches = [
        Batch(f"c{start}", [heavy(number) for number in range(start, start + 20)])
        for start in range(0, 400, 20)
    ]
    info = (await server.run("INFO", "memory")).decode()
    used = int(info.split("used_memory:")[1].split()[0])
    await server.run("CONFIG", "SET", "maxmemory", used + 3_000_000)
    source = a_source(server, Said())
    async with a_sink(server, said) as sink:
        writing = asyncio.create_task(append_all(sink, batches))
        await said.wait_for("waiting")
        assert said.has("OOM") or said.has("OutOfMemory")
        got: list[Batch] = []
        async with aclosing(source.batches(None)) as stream:
            while len(events_of(got)) < 400:
                got += await take(stream, 1)
                await source.committed(got[-1].cursor)
        await writing
    assert numbers(events_of(got)) == list(range(400))


async def test_what_waiting_does_not_mend_is_an_error(server: RedisServer, said: Said) -> None:
    await server.run("SET", STREAM, "a string")
    async with a_sink(server, said) as sink:
        with pytest.raises(SourceError, match="WRONGTYPE"):
            await sink.append("up", None, batch("c1", 0, 1))
        assert await sink.cursor("up") is None
