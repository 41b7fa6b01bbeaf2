"""A Jetstream host in a process of its own: a file's lines over a websocket, to one client.

    python -m ops.bench.feed_server FILE [EVENTS_PER_SECOND]

Says its port on standard output. Without a rate it sends as fast as the client reads, and does as
little as can be for it, since it takes CPU time from what is measured: it writes whole blocks of
frames to the socket. With a rate each line gets the time at which it is sent as its `time_us`, as
a real host does it, and every one another: so the cursor in the log tells when an event was sent.
A second connection is an error: it would mean that the first was lost, and that lines come twice.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import uvloop

MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, 1.3."""
BLOCK_LINES: Final = 200
STAMP: Final = b'"time_us":'


def frame(payload: bytes) -> bytes:
    """A text message as an unmasked frame of its own."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 1 << 16:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def stamped(line: bytes, time_us: int) -> bytes:
    """The line as of another time; the first `time_us` in it is the message's own."""
    before, _, rest = line.partition(STAMP)
    return b"%b%b%d%b" % (before, STAMP, time_us, rest[rest.index(b",") :])


class Feed:
    """Sends the lines of a file to the first client."""

    def __init__(self, file: Path, rate: float) -> None:
        self.file = file
        self.rate = rate
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection: the handshake, then lines until the client goes."""
        try:
            self._connections += 1
            if self._connections > 1:
                raise RuntimeError("a second connection: the first was lost")
            await _greet(reader, writer)
            with self.file.open("rb") as lines:
                bare = (line[:-1] for line in lines)
                await (self._paced(bare, writer) if self.rate else self._fast(bare, writer))
            await reader.read(1)  # A client says something only to take its leave.
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        except Exception as error:
            if not self.done.done():
                self.done.set_exception(error)
        finally:
            writer.close()

    async def _fast(self, lines: Iterator[bytes], writer: asyncio.StreamWriter) -> None:
        while block := b"".join(map(frame, islice(lines, BLOCK_LINES))):
            writer.write(block)
            await writer.drain()

    async def _paced(self, lines: Iterator[bytes], writer: asyncio.StreamWriter) -> None:
        begun, sent, last_us = time.monotonic(), 0, 0
        while True:
            due = int((time.monotonic() - begun) * self.rate) - sent
            now_us = time.time_ns() // 1000
            for line in islice(lines, due):
                last_us = max(now_us, last_us + 1)
                writer.write(frame(stamped(line, last_us)))
                sent += 1
                due -= 1
            if due > 0:
                return
            await writer.drain()
            await asyncio.sleep(max(0.001, begun + (sent + 1) / self.rate - time.monotonic()))


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines[1:] if line)
    key = next(value for name, value in headers.items() if name.lower() == b"sec-websocket-key")
    accept = base64.b64encode(hashlib.sha1(key + MAGIC, usedforsecurity=False).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


async def main(file: Path, rate: float) -> None:
    """Serves until it is killed, or until something is wrong."""
    feed = Feed(file, rate)
    server = await asyncio.start_server(feed.serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await feed.done


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else 0.0))
