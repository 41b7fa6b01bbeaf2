"""Sources for what is measured: a Jetstream host, and a Redis with a stream that is full."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from events.event import Batch
from events.streams.link import RedisLink
from ops.bench.flow import Prepared
from ops.bench.processes import Child, eventually
from projector.embedded_redis import EmbeddedRedis
from projector.ingest import ingest
from projector.settings import Settings
from projector.sources import StreamTarget

PORT_SECONDS_MAX: Final = 20.0
REWRITE_SECONDS_MAX: Final = 120.0
REDIS_BYTES_MAX: Final = 8 * 1024**3


@asynccontextmanager
async def jetstream_host(file: Path, folder: Path, rate: float = 0.0) -> AsyncIterator[str]:
    """A websocket that sends a file's lines, as fast as they are read or at a rate; its address.

    Its process ends with the body, which fails where a second connection was made.
    """
    words = [str(file)] + ([str(rate)] if rate else [])
    host = Child(folder / "feed_server.log", "ops.bench.feed_server", *words, pipe=True)
    try:
        async with asyncio.timeout(PORT_SECONDS_MAX):
            port = await asyncio.to_thread(host.output.readline)
        if not port.strip():
            await host.stop()
            host.check()
        yield f"ws://127.0.0.1:{int(port)}/subscribe"
        host.check()
    finally:
        await host.stop()


class FullRedis:
    """A Redis as `up --redis-buffer` runs it, with streams that can be read again and again."""

    def __init__(self, server: EmbeddedRedis, settings: Settings, pid: int, version: str) -> None:
        self.server = server
        self.settings = settings
        self.pid = pid
        self.version = version
        self._link = RedisLink(server.url)
        self._made = 0

    async def fill(self, stream: str, batches: Sequence[Batch]) -> None:
        """Puts batches into a stream as `ingest --to` does, and lets the server settle."""
        source = Prepared(batches)
        target = StreamTarget(f"{self.server.url}&stream={stream}", source, self.settings)
        await ingest(source, target, asyncio.Event())
        # The file that the server writes beside is made small now, not while it is measured; the
        # server may be about it already.
        assert await eventually(self._is_settled, REWRITE_SECONDS_MAX)
        await self._link.run("BGREWRITEAOF")
        assert await eventually(self._is_settled, REWRITE_SECONDS_MAX)

    async def _is_settled(self) -> bool:
        return b"aof_rewrite_in_progress:1" not in await self._link.run("INFO", "persistence")

    @asynccontextmanager
    async def copy(self, stream: str) -> AsyncIterator[str]:
        """The address of a copy of a stream that nobody has read yet."""
        self._made += 1
        name = f"{stream}-{self._made}"
        await self._link.run("COPY", stream, name)
        try:
            yield f"{self.server.url}&stream={name}"
        finally:
            await self._link.run("UNLINK", name)

    async def close(self) -> None:
        """Closes our own connection."""
        await self._link.close()


@asynccontextmanager
async def full_redis(folder: Path, settings: Settings) -> AsyncIterator[FullRedis]:
    """A Redis on a socket in `folder`, ended with the body."""
    async with EmbeddedRedis(folder, memory_bytes_max=REDIS_BYTES_MAX) as server:
        facts = await redis_facts(server)
        redis = FullRedis(server, settings, int(facts["process_id"]), facts["redis_version"])
        try:
            yield redis
        finally:
            await redis.close()


async def redis_facts(server: EmbeddedRedis) -> dict[str, Any]:
    """What the server says of itself."""
    link = RedisLink(server.url)
    try:
        text = (await link.run("INFO", "server")).decode()
    finally:
        await link.close()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
