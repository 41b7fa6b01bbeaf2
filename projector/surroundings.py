"""The status with what is around the engine's tables: what is waited for, fails, or fills up."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec

from projector.declare import Kept
from projector.disk import read_disk
from projector.facts import LogFacts, RedisFacts, read_log, read_redis
from projector.failures import read_failures
from projector.samples import Sample
from projector.status import Status, read_status
from projector.troubles import LOOKS, SLOW_SECONDS, Surroundings, troubles_of
from projector.waits import read_wait

STREAMS: Final = ("redis:", "rediss:", "unix:")


@dataclass(frozen=True, slots=True)
class Streams:
    """How streams are looked at: `redis` is what is known of them already, others are reached as
    their sources are named, which is without a password."""

    group: str
    entries_max: int
    redis: Sequence[RedisFacts] = ()


async def look(
    connection: asyncpg.Connection,
    declarations: Sequence[Kept],
    streams: Streams,
    log: LogFacts,
    looks: deque[float],
    samples: Sequence[Sample] = (),
) -> tuple[Status, Surroundings]:
    """Reads everything; the status has the troubles among it.

    `looks` are how long the last looks took, to which this one is added.
    """
    begun = time.monotonic()
    status = await read_status(connection, declarations)
    wait, failures = await read_wait(connection), await read_failures(connection)
    disk = await read_disk(connection)
    looks.append(time.monotonic() - begun)
    around = Surroundings(
        look_seconds=list(looks),
        wait=wait,
        failures=failures,
        disk=disk,
        redis=[*streams.redis, *await _others(status, streams)],
        stream_entries_max=streams.entries_max,
        log=log,
        events_per_second=sum(source.events_per_second for source in status.sources),
        samples=samples,
    )
    return msgspec.structs.replace(status, troubles=troubles_of(around)), around


async def look_once(
    connection: asyncpg.Connection, declarations: Sequence[Kept], streams: Streams
) -> Status:
    """The status with its troubles; where Postgres is slow it looks again, to be sure."""
    looks: deque[float] = deque(maxlen=LOOKS)
    while True:
        log = await read_log(connection)
        status, _ = await look(connection, declarations, streams, log, looks)
        if looks[-1] <= SLOW_SECONDS or len(looks) == LOOKS:
            return status


async def _others(status: Status, streams: Streams) -> list[RedisFacts]:
    """Those that answer: where one does not it may want a password, or be reached only from where
    it is ingested."""
    known = {facts.stream for facts in streams.redis}
    names = [
        s.name for s in status.sources
        if s.name.startswith(STREAMS) and s.is_in_use and s.name not in known
    ]  # fmt: skip
    found = await asyncio.gather(*(read_redis(name, streams.group) for name in names))
    return [facts for facts in found if facts.error is None]
