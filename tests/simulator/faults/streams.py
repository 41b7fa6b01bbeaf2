"""Faults of Redis itself."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.simulator.faults.fault import Disturbed, Unfired, fault
from tests.simulator.faults.world import STREAM, World

WAITING = "; waiting"
LOST = ("Redis lost writes", "was flushed, deleted or restored from an older copy")
"""What the writer to a stream says that lost something, and its reader."""
TOLD = (
    "the writer says that Redis lost writes and ends with 6, or the reader that the stream is not "
    "what it was"
)
MADE_GOOD = (
    "the loss is said; what the log lacks comes again from the host, once the writer is started "
    "again"
)

CUT_BYTES_MAX = 200_000
COME_SECONDS_MAX = 15.0
ROOM_ENTRIES = 500


@fault(
    "redis-stalled", does="Redis is stopped (SIGSTOP) for longer than a command may take",
    seen="a process says that it waits", holds="nothing is lost or written twice",
)  # fmt: skip
async def redis_stalled(world: World) -> str:
    mark = world.mark()
    async with world.servers.redis_lock:
        world.servers.redis.pause()
        try:
            return await world.hear(mark, WAITING)
        finally:
            world.servers.redis.resume()


@fault(
    "redis-restarted", does="Redis is killed and started, with all that it had",
    seen="its `run_id` is another; a process says that it waits", holds="the same",
)  # fmt: skip
async def redis_restarted(world: World) -> str:
    mark, before = world.mark(), await _run_id(world)
    async with world.servers.redis_lock:
        await world.servers.redis.restart()
    if await _run_id(world) == before:
        raise Unfired("it is the same server still")
    return f"another server; {await world.hear(mark, WAITING)}"


async def _run_id(world: World) -> bytes:
    told: bytes = await world.redis("INFO", "server")
    return told.partition(b"run_id:")[2].split()[0]


@asynccontextmanager
async def unread(world: World) -> AsyncIterator[int]:
    """Messages in the stream that the log has not, while it is entered; yields the feed's place."""

    async def has_room() -> bool:
        return int(await world.redis("XLEN", STREAM)) < ROOM_ENTRIES

    # It may be full, while the writer repeats what was lost.
    await world.see("the stream stays full", has_room)
    running = world.field.members["tail"].running
    assert running is not None
    running.send(signal.SIGSTOP)
    try:
        begun = await world.feed_at()

        async def moved() -> int:
            at = await world.feed_at()
            return at if at > begun else 0

        try:
            at: int = await world.see("nothing came", moved, seconds=COME_SECONDS_MAX)
        except Unfired as error:
            # Full by now: who reads must go on first.
            raise Disturbed("nothing comes into the stream") from error
        yield at
    finally:
        running.send(signal.SIGCONT)


def expect_loss(world: World) -> None:
    """From now on the writer may end as one whose stream lost writes; it is started again."""
    world.field.excuses["feed"] = LOST[0]


@fault("redis-flushed", does="FLUSHALL, with messages that nobody had read", seen=TOLD,
       holds=MADE_GOOD)  # fmt: skip
async def redis_flushed(world: World) -> str:
    mark = world.mark()
    expect_loss(world)
    async with unread(world):
        await world.redis("FLUSHALL")
    return await world.hear(mark, *LOST)


@fault(
    "redis-lost-its-end",
    does="Redis is killed, and started without the end of its append-only file",
    seen=f"the cursor in it is an earlier one; {TOLD}",
    holds=MADE_GOOD,
)
async def redis_lost_its_end(world: World) -> str:
    redis, mark = world.servers.redis, world.mark()
    expect_loss(world)
    async with unread(world) as at, world.servers.redis_lock:
        await redis.kill()
        file = max(redis.folder.rglob("*.aof"), key=lambda path: path.stat().st_mtime)
        with file.open("r+b") as kept:
            size = file.stat().st_size
            kept.truncate(size - min(size // 2, CUT_BYTES_MAX))
        await redis.start()
        lost = await _lost(world, at)
    return f"{lost}; {await world.hear(mark, *LOST)}"


@fault(
    "redis-failed-over",
    does="Redis is killed, and a copy takes its place that is some messages older",
    seen=f"the same; {TOLD}",
    holds=MADE_GOOD,
)
async def redis_failed_over(world: World) -> str:
    redis, mark = world.servers.redis, world.mark()
    copy = Path(f"{redis.folder}-copy-{world.rng.random()}")
    expect_loss(world)
    async with world.servers.redis_lock:
        await redis.copy_data(copy)
        async with unread(world) as at:
            await redis.restore_data(copy)
            shutil.rmtree(copy)
            lost = await _lost(world, at)
    return f"{lost}; {await world.hear(mark, *LOST)}"


async def _lost(world: World, at: int) -> str:
    """What shows that Redis has lost something that it had."""
    now_at = await world.feed_at()
    if now_at >= at:
        raise Unfired(f"it lost nothing: {now_at} is not before {at}")
    return f"back from {at} to {now_at or 'nothing'}"


@fault(
    "redis-out-of-memory",
    does="`maxmemory` becomes one byte, with `noeviction`",
    seen="Redis counts refused commands; a process says that it waits",
    holds="nothing is dropped: who writes waits, who reads reads on",
)
async def redis_out_of_memory(world: World) -> str:
    mark, before = world.mark(), await _refused(world)
    await world.redis("CONFIG", "SET", "maxmemory", "1")
    try:
        heard = await world.hear(mark, WAITING)
        await asyncio.sleep(1)
    finally:
        await world.redis("CONFIG", "SET", "maxmemory", "0")
    refused = await _refused(world) - before
    if refused < 1:
        raise Unfired("Redis refused nothing")
    return f"{refused} commands refused; {heard}"


async def _refused(world: World) -> int:
    told: bytes = await world.redis("INFO", "errorstats")
    count = told.partition(b"errorstat_OOM:count=")[2].split(b"\r")[0]
    return int(count or 0)
