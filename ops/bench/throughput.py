"""Events per second: appended, projected, and all the way from each source; against the floors.

Each measurement has a fresh database that starts after a checkpoint. A round does each of them
once; the ratios are those of the same round, so that a machine whose speed moves spoils few.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from ops.bench.feeds import FullRedis, full_redis, jetstream_host
from ops.bench.floor import Load, copy_all, log_load, read_back
from ops.bench.flow import append, end_to_end, end_to_end_live, project, prove
from ops.bench.place import Place, Usage
from ops.bench.report import say
from ops.bench.rounds import Rounds
from ops.bench.section import Section
from ops.bench.workload import Feed, Workload

FLOOR: Final = "floor"
FLOOR_WITH_LOG: Final = "floor with log"
LOG_COPY: Final = "log by COPY"
END_TO_END: Final = ("generated", "file", "redis", "websocket")
PARTS: Final = ("append", "projected", "floor", *END_TO_END)


class Throughput:
    """Measures those of PARTS that are wanted."""

    def __init__(self, place: Place, workload: Workload, only: Sequence[str], seed: int) -> None:
        self.place = place
        self.workload = workload
        self.only = set(only)
        self.ends = [source for source in END_TO_END if source in self.only]
        self.rng = random.Random(seed)
        self.rounds = Rounds()
        self.redis: FullRedis | None = None

    async def measure(self, rounds: int) -> Section:
        """A warm-up, then `rounds` rounds."""
        async with AsyncExitStack() as stack:
            feeds = [await self.workload.full(), await self.workload.warm()]
            if "redis" in self.only:
                folder = self.workload.folder / "redis"
                self.redis = await stack.enter_async_context(
                    full_redis(folder, self.place.settings)
                )
                for feed in feeds:
                    say(f"filling a Redis stream with {feed.events:,} events")
                    await self.redis.fill(feed.label, feed.batches)
            say("throughput: warming up")
            await self._round(feeds[1])
            self.rounds = Rounds()
            for number in range(1, rounds + 1):
                say(f"throughput: round {number} of {rounds}")
                await self._round(feeds[0])
        return self._section()

    async def _round(self, feed: Feed) -> None:
        loads = await self._log_and_tables(feed)
        if loads:
            async with self.place.fresh() as database:
                await copy_all(self.place, database, loads, self._into(FLOOR, feed))
            loads.append(log_load(feed.batches))
            async with self.place.fresh() as database:
                await copy_all(self.place, database, loads, self._into(FLOOR_WITH_LOG, feed))
            loads.clear()
        for source in self.rng.sample(self.ends, len(self.ends)):
            await self._end_to_end(source, feed)

    def _into(self, name: str, feed: Feed) -> list[Usage]:
        return self.rounds.usages(name, feed.events)

    async def _log_and_tables(self, feed: Feed) -> list[Load]:
        """The log by itself, and projected; the rows that come out, where the floor wants them."""
        loads: list[Load] = []
        if not self.only & {"append", "projected", "floor"}:
            return loads
        place = self.place
        async with place.fresh() as database:
            await append(place, database, feed.batches, self._into("append", feed))
            if self.only & {"projected", "floor"}:
                await project(place, database, self._into("projected", feed))
                await prove(place, database, feed.events)
            if "floor" in self.only:
                loads = await read_back(place, database)
        if "append" in self.only:
            async with place.fresh() as database:
                log = [log_load(feed.batches)]
                await copy_all(place, database, log, self._into(LOG_COPY, feed))
        return loads

    async def _end_to_end(self, source: str, feed: Feed) -> None:
        place, into = self.place, self._into(f"end to end, {source}", feed)
        async with place.fresh() as database, AsyncExitStack() as stack:
            if source == "generated":
                await end_to_end(place, database, feed.spec, Path(), into)
            elif source == "file":
                await end_to_end(place, database, f"file:{feed.file}", Path(), into)
            elif source == "redis":
                assert self.redis is not None
                url = await stack.enter_async_context(self.redis.copy(feed.label))
                pid = self.redis.pid
                await end_to_end_live(place, database, url, feed.events, into, redis=pid)
            else:
                host = jetstream_host(feed.file, self.workload.folder)
                url = await stack.enter_async_context(host)
                await end_to_end_live(place, database, url, feed.events, into)
            await prove(place, database, feed.events)

    def _section(self) -> Section:
        """`floor` is what `projected` is to be compared with: both find the log written; and
        `floor with log` what end to end is, which writes it."""
        rounds = self.rounds
        pairs = [("projected", FLOOR), ("append", LOG_COPY)]
        pairs += [(f"end to end, {s}", to) for s in self.ends for to in (FLOOR_WITH_LOG, FLOOR)]
        lines = [rounds.line(name, to) for name, to in pairs]
        floors = (FLOOR, FLOOR_WITH_LOG)
        figures = rounds.figures()
        if self.redis is not None:
            figures["redis_version"] = self.redis.version
        return Section(
            title="Throughput",
            heads=(*rounds.heads, *(f"to {floor}" for floor in floors)),
            rows=rounds.rows(to=floors),
            ratios=[line for line in lines if line is not None],
            figures=figures,
        )
