"""Faults of the network between the program and its servers."""

from __future__ import annotations

import asyncio
import contextlib
import time

from tests.simulator.faults.fault import Disturbed, Unfired, fault
from tests.simulator.faults.postgres import HEARD_SECONDS, TIMES, TROUBLE
from tests.simulator.faults.world import World
from tests.support.proxy import Proxy

SAYS = {"postgres": TROUBLE, "redis": ("; waiting", "cannot acknowledge or trim")}
GREETINGS = {"postgres": b"\0\0\0\x08\x04\xd2\x16\x2f", "redis": b"PING\r\n"}
"""What each server answers at once: the question for TLS, and PING."""
PIECES_MIN = 30


def _door(world: World, server: str) -> Proxy:
    return {"postgres": world.servers.to_postgres, "redis": world.servers.to_redis}[server]


async def _cut(world: World, server: str) -> str:
    mark = world.mark()
    for _ in range(TIMES):
        # Who is busy elsewhere at the time, as after another fault, may not notice.
        cut = _door(world, server).cut()
        if not cut:
            raise Disturbed("there was none to be cut")
        with contextlib.suppress(Unfired):
            heard = await world.hear(mark, *SAYS[server], seconds=HEARD_SECONDS)
            return f"{cut} connections cut; {heard}"
    raise Unfired(f"nobody said anything of {TIMES} times that all connections were cut")


async def _round_trip_seconds(world: World, server: str) -> float:
    begun = time.monotonic()
    reader, writer = await asyncio.open_connection("127.0.0.1", _door(world, server).port)
    try:
        writer.write(GREETINGS[server])
        if not await asyncio.wait_for(reader.read(1), 30):
            raise Disturbed("it ended without an answer")
    finally:
        writer.transport.abort()
    return time.monotonic() - begun


async def _slow(world: World, server: str, *, delay_seconds: float, bytes_per_second: int) -> str:
    door = _door(world, server)
    before = door.delayed
    least_seconds = 2 * delay_seconds

    async def enough() -> bool:
        return door.delayed >= before + PIECES_MIN

    try:
        door.delay_seconds, door.bytes_per_second = delay_seconds, bytes_per_second
        seconds = await _round_trip_seconds(world, server)
        await world.see("little was sent", enough)
    finally:
        door.delay_seconds = door.bytes_per_second = 0.0
    if seconds < least_seconds:
        raise Unfired(f"a round trip took {seconds:.3f} s only")
    return f"{door.delayed - before} pieces were late; a round trip took {seconds:.2f} s"


async def _black_hole(world: World, server: str) -> str:
    door = _door(world, server)
    mark, before = world.mark(), door.held
    forget = world.rng.random() < 0.5
    door.hold()
    try:
        heard = await world.hear(mark, *SAYS[server])
        if door.held == before:
            raise Unfired("nothing was held back")
    finally:
        door.resume(forget=forget)
    return f"{door.held - before} pieces held back; {heard}"


HOLDS = "nothing is lost or applied twice, whatever was on its way"
CUT_SEEN = "the proxy counts them; a process says that it waits, or tries again"
SLOW_SEEN = "the proxy counts pieces passed late; a round trip through it takes so long"
HOLE_SEEN = "the proxy counts pieces held back; a process gives up waiting and says so"


@fault("postgres-cut", does="all connections to Postgres are cut", seen=CUT_SEEN, holds=HOLDS)
async def postgres_cut(world: World) -> str:
    return await _cut(world, "postgres")


@fault("redis-cut", does="all connections to Redis are cut", seen=CUT_SEEN, holds=HOLDS)
async def redis_cut(world: World) -> str:
    return await _cut(world, "redis")


@fault(
    "postgres-delayed", does="all that Postgres sends and gets is 100 ms late", seen=SLOW_SEEN,
    holds="all goes on, slower",
)  # fmt: skip
async def postgres_delayed(world: World) -> str:
    return await _slow(world, "postgres", delay_seconds=0.1, bytes_per_second=0)


@fault(
    "redis-delayed", does="all that Redis sends and gets is 200 ms late", seen=SLOW_SEEN,
    holds="all goes on, slower",
)  # fmt: skip
async def redis_delayed(world: World) -> str:
    return await _slow(world, "redis", delay_seconds=0.2, bytes_per_second=0)


@fault(
    "postgres-throttled", does="50 KB/s at the most go to Postgres, and from it, per connection",
    seen="the proxy counts the pieces", holds="all goes on, slower",
)  # fmt: skip
async def postgres_throttled(world: World) -> str:
    return await _slow(world, "postgres", delay_seconds=0, bytes_per_second=50_000)


@fault(
    "postgres-black-hole",
    does="no byte comes through to Postgres or from it; then all of them, or the connections are"
    " gone",
    seen=HOLE_SEEN,
    holds=HOLDS,
)
async def postgres_black_hole(world: World) -> str:
    return await _black_hole(world, "postgres")


@fault(
    "redis-black-hole", does="the same, to Redis and from it", seen=HOLE_SEEN, holds=HOLDS
)  # fmt: skip
async def redis_black_hole(world: World) -> str:
    return await _black_hole(world, "redis")
