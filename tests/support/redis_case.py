"""What the tests of the Redis source and sink have in common."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import msgspec

from events.event import Batch, Event, Limits, Wanted
from events.sources.redis import RedisSource
from events.streams.sink import RedisSink
from tests.support.redis_server import RedisServer

STREAM = "firehose_live"
GROUP = "projector"


class Said:
    """A Report that keeps what was said, and lets a test wait for it."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._waiters: list[tuple[str, asyncio.Event]] = []

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        for text, heard in self._waiters:
            if text in line:
                heard.set()

    async def wait_for(self, text: str) -> None:
        if not self.has(text):
            heard = asyncio.Event()
            self._waiters.append((text, heard))
            async with asyncio.timeout(10):
                await heard.wait()

    def has(self, text: str) -> bool:
        return any(text in line for line in self.lines)


def event(number: int) -> Event:
    """A like, different for each number."""
    did = f"did:plc:{number:024d}".translate(str.maketrans("0189", "abcd"))
    when = (20_000 * 86_400 + number) * 1_000_000
    collection = "app.bsky.feed.like"
    record = b'{"$type":"app.bsky.feed.like","number":%d}' % number
    return Event(
        0, did, "commit", "create", collection, f"3k{number}", "3kabc", "bafy", record, when
    )


def batch(cursor: str, first: int, count: int) -> Batch:
    return Batch(cursor, [event(number) for number in range(first, first + count)])


def plain(events: list[Event]) -> list[Event]:
    """Without what depends on the way they came."""
    return [msgspec.structs.replace(each, source_cursor="") for each in events]


def numbers(events: list[Event]) -> list[int]:
    return [int((each.rkey or "")[2:]) for each in events]


def a_source(server: RedisServer, said: Said, *, url: str = "", **settings: Any) -> RedisSource:
    chosen: dict[str, Any] = {
        "consumer": "c1",
        "limits": Limits(),
        "wanted": Wanted(),
        "batch_events_max": 10,
        "block_ms": 20,
        "timeout_seconds": 0.5,
        "backoff_seconds": (0.01, 0.05),
    } | settings
    return RedisSource(url or server.url, STREAM, report=said, **chosen)


@asynccontextmanager
async def a_sink(
    server: RedisServer, said: Said, *, url: str = "", **settings: Any
) -> AsyncIterator[RedisSink]:
    chosen: dict[str, Any] = {"timeout_seconds": 0.5, "backoff_seconds": (0.005, 0.02)} | settings
    sink = RedisSink(url or server.url, STREAM, report=said, **chosen)
    try:
        yield sink
    finally:
        await sink.close()


async def fill(server: RedisServer, count: int, *, first: int = 0, cursor: str = "up") -> None:
    """Writes numbered events to the stream, by a sink of its own for each cursor."""
    said = Said()
    async with a_sink(server, said) as sink:
        await sink.append(f"fill-{cursor}-{first}", None, batch(cursor, first, count))


async def take(stream: AsyncGenerator[Batch, None], count: int) -> list[Batch]:
    """The next batches until they hold `count` events or dead letters."""
    taken: list[Batch] = []
    async with asyncio.timeout(15):
        while sum(len(each.events) + len(each.dead) for each in taken) < count:
            taken.append(await anext(stream))
    return taken


async def read(source: RedisSource, cursor: str | None, count: int) -> list[Batch]:
    """Opens the source, takes, and closes it again; commits nothing."""
    async with aclosing(source.batches(cursor)) as stream:
        return await take(stream, count)


def events_of(batches: list[Batch]) -> list[Event]:
    return [each for one in batches for each in one.events]


async def group_facts(server: RedisServer, group: str = GROUP) -> dict[str, Any]:
    """The row of `XINFO GROUPS` as an operator sees it."""
    for row in await server.run("XINFO", "GROUPS", STREAM):
        facts = {key.decode(): value for key, value in zip(row[::2], row[1::2], strict=True)}
        if facts["name"].decode() == group:
            return facts
    raise AssertionError(f"there is no group {group}")


async def ids(server: RedisServer) -> list[str]:
    return [row[0].decode() for row in await server.run("XRANGE", STREAM, "-", "+")]


async def has_lag(server: RedisServer) -> bool:
    return "lag" in await group_facts(server)


async def commit_all(source: RedisSource, batches: list[Batch]) -> None:
    for each in batches:
        await source.committed(each.cursor)
