"""From receipt to visible row, at rates that the network has, with every projection at work.

What `projector up wss://…` does runs here, on a websocket at a rate. Received is an event when the
websocket's message was read (before it is decoded and waits for others to fill its batch);
visible, when another connection's snapshot has what was committed with it. For each event: by
which checkpoint its row was there, and by which its counts. The host stamps each line with the
time at which it is sent, so what waits unread in the socket while our process is busy is seen too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from events.event import Decoded, Event
from events.generate import Generator, lines
from events.sources.jetstream_frames import FrameDecoder
from ops.bench.feeds import jetstream_host
from ops.bench.flow import arrived, prove, running
from ops.bench.place import Place, Usage
from ops.bench.processes import Child, until
from ops.bench.report import say
from ops.bench.section import Section
from ops.bench.watch import Watched, read
from projector.database import Database
from projector.declare import Aggregate, Projection

RATES: Final = (100, 500, 2_000)
WARM_SECONDS: Final = 4.0
START_SECONDS_MAX: Final = 20.0
DRAIN_SECONDS_MAX: Final = 60.0
EVENTS: Final = """
SELECT log_offset, collection, source_cursor::bigint FROM projector.event_log ORDER BY log_offset
"""
RECEIVED: Final = "sent → received"
IN_LOG: Final = "received → in the log"
ALL_TABLES: Final = "received → row, all tables"
ALL_COUNTS: Final = "received → counted, all aggregates"
ALL: Final = "sent → row and counts"


@dataclass(slots=True)
class Latency:
    """Of one rate: milliseconds by stage, one for each event, in their order; and the CPU used."""

    rate: int
    stages: dict[str, list[float]] = field(default_factory=dict)
    usage: list[Usage] = field(default_factory=list)

    def add(self, stage: str, us: float) -> None:
        """Takes in one event."""
        self.stages.setdefault(stage, []).append(us / 1000)

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            stage: {
                "events": len(values),
                **{f"{name}_ms": ms for name, ms in _summary(values).items()},
            }
            for stage, values in self.stages.items()
        }


class Latencies:
    """Measures one rate after the other, each in a fresh database."""

    def __init__(self, place: Place, seed: int, seconds: float, folder: Path) -> None:
        self.place = place
        self.seed = seed
        self.seconds = seconds
        self.folder = folder
        projections = [d for d in place.declarations if isinstance(d, Projection)]
        self.by_collection = {p.collection: p.name for p in projections}
        self.counts = {
            d.name: sorted({count.of.name for count in d.counters.values()})
            for d in place.declarations
            if isinstance(d, Aggregate)
        }

    async def measure(self, rates: Sequence[int] = RATES) -> Section:
        """All rates."""
        return self._section([await self._at(rate) for rate in rates])

    async def _at(self, rate: int) -> Latency:
        say(f"latency: {rate:,} events a second, {self.seconds:.0f} s")
        events = int(rate * (self.seconds + WARM_SECONDS))
        file = self.folder / "latency.jsonl"
        with file.open("wb") as out:
            out.writelines(lines(islice(Generator(self.seed).events(), events)))
        latency = Latency(rate)
        async with self.place.fresh() as database:
            received, seen = await self._run(database, latency, file, events)
            await prove(self.place, database, events)
            await self._judge(database, latency, received, seen)
        return latency

    async def _run(
        self, database: Database, latency: Latency, file: Path, events: int
    ) -> tuple[dict[str, int], Watched]:
        looks = self.folder / f"looks-{latency.rate}.jsonl"
        watching = Child(self.folder / "watch.log", "ops.bench.watch", database.url, str(looks))
        try:
            if not await until(lambda: looks.exists() or watching.ended(), START_SECONDS_MAX):
                raise TimeoutError("the process that watches did not start")
            limit = events / latency.rate + DRAIN_SECONDS_MAX
            with receipts() as received, self.place.metered(latency.usage):
                async with (
                    jetstream_host(file, self.folder, latency.rate) as url,
                    running(self.place, database, url) as going,
                ):
                    await arrived(self.place, database, events, going, seconds_max=limit)
            if watching.ended():
                raise RuntimeError(f"the process that watches ended: {watching.log.read_text()}")
        finally:
            await watching.stop()
        return received, read(looks, self.counts)

    async def _judge(
        self, database: Database, latency: Latency, received: dict[str, int], seen: Watched
    ) -> None:
        connection = await database.connect("bench")
        try:
            rows = await connection.fetch(EVENTS)
        finally:
            await connection.close()
        first_us = rows[0][2] + WARM_SECONDS * 1e6
        for offset, collection, sent_us in rows:
            if sent_us >= first_us:
                received_us = received[str(sent_us)]
                latency.add(RECEIVED, received_us - sent_us)
                latency.add(IN_LOG, _when(seen.log.when_us(offset)) - received_us)
                if name := self.by_collection.get(collection):
                    last_us = self._judge_one(latency, seen, offset, name, received_us)
                    latency.add(ALL, last_us - sent_us)

    def _judge_one(
        self, latency: Latency, seen: Watched, offset: int, name: str, received_us: int
    ) -> int:
        """An event of projection `name`; returns when all there is of it was visible."""
        applied_us = _when(seen.applied[name].when_us(offset))
        latency.add(f"received → row, {name}", applied_us - received_us)
        latency.add(ALL_TABLES, applied_us - received_us)
        last_us = applied_us
        for aggregate, names in self.counts.items():
            if name in names:
                counted_us = _when(seen.counted[aggregate, name].when_us(offset))
                latency.add(f"received → counted, {aggregate}", counted_us - received_us)
                last_us = max(last_us, counted_us)
        latency.add(ALL_COUNTS, last_us - received_us)
        return last_us

    def _section(self, latencies: Sequence[Latency]) -> Section:
        stages = sorted({stage for each in latencies for stage in each.stages}, key=_order)
        rows = [(stage, *(_cell(each.stages.get(stage)) for each in latencies)) for stage in stages]
        rows.append(("CPU of a core: own, Postgres", *(_load(each.usage[0]) for each in latencies)))
        lines = []
        for each in latencies:
            row, counted = _summary(each.stages[ALL_TABLES]), _summary(each.stages[ALL_COUNTS])
            lines.append(
                f"visible after receipt at {each.rate:,}/s: row p50 {row['p50']:.0f} ms, "
                f"p99 {row['p99']:.0f} ms; counts p50 {counted['p50']:.0f}, "
                f"p99 {counted['p99']:.0f} ms"
            )
        return Section(
            title="Latency, ms: p50 / p99 / max",
            heads=("", *(f"{each.rate:,}/s" for each in latencies)),
            rows=rows,
            ratios=lines,
            figures={f"{each.rate}_per_second": each.figures() for each in latencies},
        )


@contextmanager
def receipts() -> Iterator[dict[str, int]]:
    """When each message was read, in microseconds since 1970, by the cursor of its event."""
    received: dict[str, int] = {}

    class Noting(FrameDecoder):
        def decode(self, raw: bytes) -> tuple[Decoded, int | None]:
            now_us = time.time_ns() // 1000
            decoded = super().decode(raw)
            if isinstance(decoded[0], Event):
                received[decoded[0].source_cursor] = now_us
            return decoded

    with patch("events.sources.jetstream.FrameDecoder", Noting):
        yield received


def _when(time_us: int | None) -> int:
    assert time_us is not None, "an event that nobody saw become visible"
    return time_us


def _summary(values: Iterable[float]) -> dict[str, float]:
    ranked = sorted(values)
    at = {"p50": 0.50, "p90": 0.90, "p99": 0.99, "max": 1.0}
    return {name: ranked[min(int(len(ranked) * p), len(ranked) - 1)] for name, p in at.items()}


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    of = _summary(values)
    return f"{of['p50']:.1f} / {of['p99']:.1f} / {of['max']:.0f}"


def _load(usage: Usage) -> str:
    shares = (usage.own_cpu_seconds, usage.postgres_cpu_seconds)
    return ", ".join("" if s is None else f"{s / usage.seconds:.0%}" for s in shares)


def _order(stage: str) -> tuple[int, str]:
    kinds = ("sent → received", "received → in", "received → row", "received → counted", "sent")
    return next(i for i, kind in enumerate(kinds) if stage.startswith(kind)), stage
