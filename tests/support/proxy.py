"""A TCP proxy of our own between a program and a server, for what befalls networks.

It can cut every connection, pass bytes late or slowly, or let nothing through any more while every
connection stays, and it counts what it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
CHUNK_BYTES_MAX = 64 * 1024


def to_port(port: int) -> Callable[[], Awaitable[Streams]]:
    """How to reach a server on a loopback port."""
    return lambda: asyncio.open_connection("127.0.0.1", port)


def to_socket(path: str) -> Callable[[], Awaitable[Streams]]:
    """How to reach a server by its socket."""
    return lambda: asyncio.open_unix_connection(path)


def socket_of(url: str) -> str:
    """The socket that a Postgres URL names."""
    return parse_qs(urlsplit(url).query)["host"][0] + "/.s.PGSQL.5432"


class Proxy:
    """Passes bytes both ways on a loopback port while it is entered.

    - `delay_seconds`: each piece is passed so much later.
    - `bytes_per_second`: no more is passed in each direction of each connection; 0: no bound.
    - `tls`: connections to it are encrypted; those to the server are not.

    `passed`, `delayed`, `held` and `cuts` count pieces passed, passed late or slowly, and kept
    back, and connections cut.
    """

    def __init__(
        self, reach: Callable[[], Awaitable[Streams]], *, tls: ssl.SSLContext | None = None
    ) -> None:
        self._reach = reach
        self._tls = tls
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._links: set[asyncio.StreamWriter] = set()
        self.delay_seconds = 0.0
        self.bytes_per_second = 0.0
        self.passed = self.delayed = self.held = self.cuts = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._tasks)

    def cut(self) -> int:
        """Ends every connection without a word, to both sides; returns how many."""
        tasks = list(self._tasks)
        for link in self._links:
            link.transport.abort()
        for task in tasks:
            task.cancel()
        self.cuts += len(tasks)
        return len(tasks)

    def hold(self) -> None:
        """Lets nothing through any more: no byte, no end of a connection, no new connection."""
        self._open.clear()

    def resume(self, *, forget: bool) -> None:
        """Lets everything through again. With `forget` the connections that were held are cut, as
        by a router that lost its table; else what was held is passed now."""
        if forget and not self._open.is_set():
            self.cut()
        self._open.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._links.add(writer)
        try:
            await self._open.wait()
            await self._pass_all(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            self._links.discard(writer)
            self._tasks.discard(task)

    async def _pass_all(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await self._reach()
        self._links.add(downstream)
        passing = [
            asyncio.create_task(self._pass(reader, downstream)),
            asyncio.create_task(self._pass(upstream, writer)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in passing:
                each.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            self._links.discard(downstream)
            for end in (writer, downstream):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES_MAX):
                await self._dawdle(len(data))
                if not self._open.is_set():
                    self.held += 1
                    await self._open.wait()
                writer.write(data)
                await writer.drain()
                self.passed += 1
        # Neither is the end of a connection told while nothing goes through.
        await self._open.wait()

    async def _dawdle(self, size: int) -> None:
        seconds = self.delay_seconds
        if self.bytes_per_second:
            seconds += size / self.bytes_per_second
        if seconds:
            self.delayed += 1
            await asyncio.sleep(seconds)
