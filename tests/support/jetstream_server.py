"""A real websocket server that speaks Jetstream's protocol over a list of lines, with faults.

It does what the public hosts do (bluesky-social/jetstream, `/subscribe`): `cursor` is inclusive,
and names the first line at or after it from which on all are sent in the list's order; a cursor
after the host's present is not an error, it means live; account and identity events pass every
`wantedCollections`.
"""

from __future__ import annotations

import asyncio
import http
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import msgspec
import zstandard
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

LIVE = 2**62


@dataclass
class Fault:
    """What befalls one connection. `after` counts the lines sent to it before that.

    - `refuse`: an HTTP status instead of a websocket.
    - `future`: it says FutureCursor and closes.
    - `ignore_cursor`: it starts so many lines before the one asked for (repeats).
    - `inject`: these messages (text or bytes) are sent at `after`.
    - `stall`: silence at `after`, until `JetstreamServer.release` is called.
    - `end`: at `after`, `close` the connection properly, or `abort` it in the middle of a frame.
    """

    after: int = 0
    refuse: int = 0
    future: bool = False
    ignore_cursor: int = 0
    inject: Sequence[str | bytes] = ()
    stall: bool = False
    end: str = ""


@dataclass
class Connection:
    """One request for a subscription, as the log keeps it. `place`: so many lines are behind it."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str] = field(default_factory=dict)
    sent: int = 0
    place: int = 0
    blocked: bool = False
    open: bool = False
    stalled: bool = False

    @property
    def cursor(self) -> int | None:
        return int(self.query["cursor"][0]) if "cursor" in self.query else None


class _Link(ServerConnection):
    """Tells when the client no longer takes what is sent."""

    on_blocked: Callable[[bool], None] | None = None
    scenario: tuple[Connection, Fault]

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.on_blocked is not None:
            self.on_blocked(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.on_blocked is not None:
            self.on_blocked(False)


class JetstreamServer:
    """Serves `lines` (JSON, in the host's order) while it is entered.

    `faults` befall the connections one by one, in order; those after the last have none. `now_us`
    is the host's present: a later cursor means live. `connections` is the log.
    """

    def __init__(
        self,
        lines: Sequence[bytes] = (),
        *,
        faults: Sequence[Fault] = (),
        dictionary: bytes | None = None,
        now_us: int = LIVE,
    ) -> None:
        self.lines = list(lines)
        self.faults = list(faults)
        self.now_us = now_us
        self.connections: list[Connection] = []
        self.zstd = dictionary and zstandard.ZstdCompressor(
            dict_data=zstandard.ZstdCompressionDict(dictionary)
        )
        self._changed: set[asyncio.Future[None]] = set()
        self._links: set[ServerConnection] = set()
        self._released = False
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await serve(
            self._serve,
            "127.0.0.1",
            0,
            process_request=self._admit,
            create_connection=_Link,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._released = True
        self._notify()
        self._server.close()
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        assert self._server is not None
        port = self._server.sockets[0].getsockname()[1]
        return f"ws://127.0.0.1:{port}/subscribe"

    @property
    def sent(self) -> int:
        """Lines sent over all connections."""
        return sum(connection.sent for connection in self.connections)

    @property
    def live(self) -> Connection | None:
        """The connection, if any, that has been sent all lines and waits for more."""
        there = (c for c in self.connections if c.open and not c.stalled)
        return next((c for c in there if c.place == len(self.lines)), None)

    def append(self, *lines: bytes) -> None:
        """Something happens on the network: live connections get it."""
        self.lines += lines
        self._notify()

    def release(self) -> None:
        """Ends every stall, present and to come."""
        self._released = True
        self._notify()

    def drop_all(self) -> None:
        """Ends every connection without a word."""
        for link in self._links:
            link.transport.abort()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits until the condition holds; looks at it whenever anything changes here."""
        while not condition():
            change: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._changed.add(change)
            try:
                await change
            finally:
                self._changed.discard(change)

    def _notify(self) -> None:
        for change in self._changed:
            if not change.done():
                change.set_result(None)

    def _admit(self, link: ServerConnection, request: Request) -> Response | None:
        parts = urlsplit(request.path)
        connection = Connection(
            parts.path, parse_qs(parts.query), dict(request.headers.raw_items())
        )
        fault = self.faults.pop(0) if self.faults else Fault()
        assert isinstance(link, _Link)
        link.scenario = (connection, fault)
        self.connections.append(connection)
        self._notify()
        if fault.refuse:
            return link.respond(http.HTTPStatus(fault.refuse), "no\n")
        if "compress" in connection.query and self.zstd is None:
            return link.respond(http.HTTPStatus.BAD_REQUEST, "no dictionary\n")
        return None

    async def _serve(self, link: ServerConnection) -> None:
        assert isinstance(link, _Link)
        connection, fault = link.scenario

        def on_blocked(blocked: bool) -> None:
            connection.blocked = blocked
            self._notify()

        link.on_blocked = on_blocked
        gone = asyncio.create_task(link.wait_closed())
        gone.add_done_callback(lambda _: self._notify())
        self._links.add(link)
        try:
            await _Stream(self, link, connection, fault, gone).run()
        except ConnectionClosed:
            pass
        finally:
            self._links.discard(link)
            connection.open = False
            gone.cancel()
            self._notify()


class _Stream:
    """What one connection is sent."""

    def __init__(
        self,
        server: JetstreamServer,
        link: _Link,
        connection: Connection,
        fault: Fault,
        gone: asyncio.Task[None],
    ) -> None:
        self.server, self.link, self.connection, self.fault = server, link, connection, fault
        self.gone = gone
        self.wanted = connection.query.get("wantedCollections", [])
        self.compress = connection.query.get("compress") == ["true"]

    async def run(self) -> None:
        if self.fault.future:
            await self.link.send('{"error": "FutureCursor", "message": "it is not yet that late"}')
            return
        self.connection.place = max(self.start() - self.fault.ignore_cursor, 0)
        self.connection.open = True
        self.server._notify()
        while not self.gone.done():
            if self.connection.sent == self.fault.after and await self.strike():
                return
            if self.connection.place < len(self.server.lines):
                await self.send(self.server.lines[self.connection.place])
                self.connection.place += 1
            else:
                await self.more()

    async def more(self) -> None:
        place = self.connection.place
        await self.server.until(lambda: len(self.server.lines) > place or self.gone.done())

    def start(self) -> int:
        lines, cursor = self.server.lines, self.connection.cursor
        if cursor is None or cursor > self.server.now_us:
            return len(lines)
        return next((i for i, line in enumerate(lines) if time_us_of(line) >= cursor), len(lines))

    async def send(self, line: bytes) -> None:
        if not self.wants(line):
            return
        if self.compress and self.server.zstd:
            await self.link.send(self.server.zstd.compress(line))
        else:
            await self.link.send(line, text=True)
        self.connection.sent += 1
        self.server._notify()

    def wants(self, line: bytes) -> bool:
        if not self.wanted:
            return True
        collection = _head(line).commit.get("collection", "")
        return not collection or any(
            collection.startswith(name[:-1]) if name.endswith(".*") else collection == name
            for name in self.wanted
        )

    async def strike(self) -> bool:
        """The fault, once its time has come; True: the connection is over."""
        fault, self.fault = self.fault, Fault(after=-1)
        for message in fault.inject:
            await self.link.send(message)
        if fault.stall:
            self.connection.stalled = True
            self.server._notify()
            await self.server.until(lambda: self.server._released or self.gone.done())
            self.connection.stalled = False
        if fault.end == "abort":
            # A text frame that promises 126 bytes, and ten of them.
            self.link.transport.write(b"\x81\x7e\x00\x7e" + b'{"did":"di')
            self.link.transport.close()
            await self.link.wait_closed()
        return fault.end != ""


class _Head(msgspec.Struct):
    time_us: int = 0
    commit: dict[str, Any] = {}


_head = msgspec.json.Decoder(_Head).decode


def time_us_of(line: bytes) -> int:
    """The time of a line; 0 of what is none."""
    try:
        # By the standard library: lines may have escaped surrogates without a partner.
        return int(json.loads(line)["time_us"])
    except (ValueError, KeyError, TypeError):
        return 0
