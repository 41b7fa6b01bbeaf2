"""Events of a made-up network, and a consumer that takes what a Jetstream source hands over."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

from events.event import Batch, Event, Limits, Undecodable, Wanted
from events.sources.jetstream import JetstreamSource
from tests.support.jetstream_server import JetstreamServer

T0 = 1_700_000_000_000_000
STEP_US = 100_000
DIDS = [f"did:plc:{letter * 24}" for letter in "abcde"]
HARD_MAX = 100_000


def line(number: int, *, text: str = "hello", collection: str = "app.bsky.feed.post") -> bytes:
    """The number-th event of the network: five repos, ten events a second."""
    commit = {
        "rev": f"3k{number:011}".replace("0", "a").replace("1", "b").replace("8", "c")
        .replace("9", "d"),
        "operation": "create",
        "collection": collection,
        "rkey": f"r{number}",
        "record": {"$type": collection, "text": text, "createdAt": "2026-01-01T00:00:00.000Z"},
        "cid": "bafyreiguce4jh7kcbmof3pmcvasifqtw24b6isakj5ve5ga2b4z4alpc4i",
    }  # fmt: skip
    return json.dumps(
        {"did": DIDS[number % 5], "time_us": time_of(number), "kind": "commit", "commit": commit}
    ).encode()


def time_of(number: int) -> int:
    return T0 + number * STEP_US


def lines(stop: int, start: int = 0) -> list[bytes]:
    return [line(number) for number in range(start, stop)]


class Consumer:
    """Takes a source's batches and keeps them."""

    def __init__(self, source: JetstreamSource, cursor: str | None) -> None:
        self.source = source
        self.cursor = cursor
        self.batches: list[Batch] = []
        self.reports: list[str] = []
        self._arrival = asyncio.Event()

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch.events]

    @property
    def dead(self) -> list[Undecodable]:
        return [dead for batch in self.batches for dead in batch.dead]

    @property
    def numbers(self) -> list[int]:
        """What came, by the number of its line; a repeat counts where it came first."""
        return list(dict.fromkeys(int((event.rkey or "r-1")[1:]) for event in self.events))

    async def run(self) -> None:
        async with aclosing(self.source.batches(self.cursor)) as batches:
            async for batch in batches:
                self.batches.append(batch)
                self._arrival.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._arrival.clear()
            await self._arrival.wait()

    async def until_last(self, number: int) -> None:
        await self.until(lambda: bool(self.events) and self.events[-1].rkey == f"r{number}")


@asynccontextmanager
async def consuming(
    *servers: JetstreamServer | str,
    cursor: str | None = str(T0),
    goes_back: bool = False,
    **settings: Any,
) -> AsyncIterator[Consumer]:
    """A consumer that runs; afterwards what holds always is checked, and nothing may be left.

    `goes_back`: some things are read a second time, and so the cursor does not always rise.
    """
    before = asyncio.all_tasks()
    reports: list[str] = []
    hosts = [server if isinstance(server, str) else server.url for server in servers]
    consumer = Consumer(source(hosts, report=reports.append, **settings), cursor)
    consumer.reports = reports
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not [task for task in asyncio.all_tasks() - before if "reader" in task.get_name()]
    cursors = [int(batch.cursor) for batch in consumer.batches if batch.cursor]
    assert goes_back or cursors == sorted(cursors)


def source(hosts: Sequence[str], **settings: Any) -> JetstreamSource:
    return JetstreamSource(
        hosts,
        **{
            "name": "jetstream",
            "wanted": Wanted(),
            "limits": Limits(message_bytes_max=10_000),
            "report": lambda line: None,
            "backoff_seconds_min": 0.005,
            "backoff_seconds_max": 0.02,
            "message_bytes_hard_max": HARD_MAX,
            **settings,
        },
    )


def reached(consumer: Consumer, number: int) -> bool:
    return consumer.batches[-1].cursor == str(time_of(number))


async def drop(server: JetstreamServer) -> None:
    """Ends the live connections, and waits until they are gone."""
    server.drop_all()
    await server.until(lambda: not any(connection.open for connection in server.connections[:-1]))


def nobody() -> str:
    """An address where no one listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{taken.getsockname()[1]}/subscribe"
