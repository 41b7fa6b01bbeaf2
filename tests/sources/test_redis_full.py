"""A stream that is full, and whose writer waits: nobody else than its reader makes room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from events.event import Batch
from events.sources.redis import RedisSource
from tests.support.redis_case import (
    GROUP,
    STREAM,
    Said,
    a_sink,
    a_source,
    batch,
    events_of,
    fill,
    ids,
    numbers,
    read,
    take,
)
from tests.support.redis_server import RedisServer

FULL = 20


@asynccontextmanager
async def waiting_writer(server: RedisServer) -> AsyncIterator[asyncio.Task[None]]:
    """A writer of ten events more than there is room for, once it has said that it waits."""
    said = Said()
    async with a_sink(server, said, entries_max=FULL) as sink:
        writing = asyncio.create_task(sink.append("late", None, batch("late", FULL, 10)))
        await said.wait_for("the stream is full")
        try:
            yield writing
            async with asyncio.timeout(10):
                await writing
        finally:
            writing.cancel()


async def all_of(source: RedisSource, stream: AsyncGenerator[Batch, None], count: int) -> list[int]:
    """The numbers of the next events, each batch committed as soon as it is there."""
    found: list[int] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            (one,) = await take(stream, 1)
            found += numbers(events_of([one]))
            await source.committed(one.cursor)
    return found


async def test_a_reader_that_was_killed_before_it_trimmed_trims_when_it_comes_again(
    server: RedisServer, said: Said
) -> None:
    await fill(server, FULL)
    # All is in the log, and nobody said so to the stream.
    cursor = (await read(a_source(server, said), None, FULL))[-1].cursor
    async with waiting_writer(server):
        source = a_source(server, said)
        async with aclosing(source.batches(cursor)) as stream:
            assert await all_of(source, stream, 10) == list(range(FULL, FULL + 10))


async def test_what_another_group_held_back_is_trimmed_when_it_is_through(
    server: RedisServer, said: Said
) -> None:
    await fill(server, FULL)
    await server.run("XGROUP", "CREATE", STREAM, "other", "0")
    source = a_source(server, said)
    async with aclosing(source.batches(None)) as stream:
        assert await all_of(source, stream, FULL) == list(range(FULL))
        assert len(await ids(server)) == FULL
        async with waiting_writer(server):
            coming = asyncio.create_task(all_of(source, stream, 10))
            await server.run("XGROUP", "SETID", STREAM, "other", "$")
            assert await coming == list(range(FULL, FULL + 10))
    assert said.lines == []


async def test_what_could_not_be_trimmed_is_trimmed_later(server: RedisServer, said: Said) -> None:
    await fill(server, FULL)
    source = a_source(server, said)
    async with aclosing(source.batches(None)) as stream:
        batches = await take(stream, FULL)
        await server.run("ACL", "SETUSER", "default", "-xtrim")
        await source.committed(batches[-1].cursor)
        await said.wait_for("cannot acknowledge or trim")
        await server.run("ACL", "SETUSER", "default", "+xtrim")
        async with waiting_writer(server):
            assert await all_of(source, stream, 10) == list(range(FULL, FULL + 10))


async def test_without_trimming_nothing_is_trimmed(server: RedisServer, said: Said) -> None:
    await fill(server, FULL)
    cursor = (await read(a_source(server, said), None, FULL))[-1].cursor
    source = a_source(server, said, trim=False)
    async with aclosing(source.batches(cursor)) as stream:
        coming = asyncio.create_task(take(stream, 1))
        # Acknowledged is what the log has.
        while await server.run("XPENDING", STREAM, GROUP) != [0, None, None, None]:
            await asyncio.sleep(0)
        await fill(server, 1, first=FULL, cursor="more")
        assert numbers(events_of(await coming)) == [FULL]
    assert len(await ids(server)) == FULL + 1
