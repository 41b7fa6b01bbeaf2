"""What a long backlog takes: memory, WAL, disk and time.

The programs themselves run, as an operator would start them, each a process of its own: one makes
events up and feeds a Redis stream, one brings them from there into the log, and when the log has
them all, one catches up with it. No process ever holds more than its bounds allow, and the kernel
says how much that was.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import asyncpg

from ops.bench.feeds import full_redis
from ops.bench.flow import HEAD, prove
from ops.bench.place import Place, Usage
from ops.bench.processes import Child, eventually
from ops.bench.report import say
from ops.bench.sampler import MIB, Sampler, Samples, Series
from ops.bench.section import Section
from ops.bench.sizes import LOG, Size, sizes_of, wal_bytes, wal_full_pages
from ops.bench.workload import spec
from projector.database import Database
from projector.declare import Projection
from projector.home import quoted

CLI: Final = "projector.cli"
NETWORK_EVENTS: Final = 40_000_000
"""What the network does in about a day."""
SMALL_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class Phase:
    """One of the two: what it took."""

    name: str
    events: int
    samples: Samples
    usages: list[Usage] = field(default_factory=list)
    programs: dict[str, Child] = field(default_factory=dict)
    wal_bytes: int = 0
    wal_full_pages: int = 0

    @property
    def usage(self) -> Usage:
        """Its time and the servers' CPU."""
        return self.usages[0]

    @property
    def own_cpu_seconds(self) -> float:
        """Of the program that is measured: the last that was started."""
        return list(self.programs.values())[-1].cpu_seconds

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.usage.seconds

    @property
    def rates(self) -> tuple[float, float] | None:
        """Events a second of the first half of the events, and of the second; None: too short."""
        filling = self.samples.head[0] < self.samples.head[-1]
        return self.samples.rates(self.samples.head if filling else self.samples.applied)

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "events": self.events,
            "seconds": self.usage.seconds,
            "events_per_second": self.rate,
            "events_per_second_of_first_and_second_half": self.rates,
            "own_cpu_seconds": {name: c.cpu_seconds for name, c in self.programs.items()},
            "own_rss_peak_bytes": {name: c.rss_bytes_max for name, c in self.programs.items()},
            "postgres_cpu_seconds": self.usage.postgres_cpu_seconds,
            "redis_cpu_seconds": self.usage.redis_cpu_seconds,
            "wal_bytes_per_event": self.wal_bytes / self.events,
            "wal_full_pages": self.wal_full_pages,
            "samples": self.samples.figures(),
        }


class Resources:
    """Measures a backlog of `events` events."""

    def __init__(self, place: Place, events: int, seed: int, folder: Path) -> None:
        self.place = place
        self.events = events
        self.seed = seed
        self.folder = folder
        self.seconds_max = 300 + events / 500
        self.tables = [d.name for d in place.declarations if isinstance(d, Projection)]

    async def measure(self) -> list[Section]:
        """Fills the log, catches up, proves it, and looks at what is on disk."""
        async with self.place.fresh() as database:
            say(f"resources: a backlog of {self.events:,} events")
            filling = await self._fill(database)
            say(f"resources: catching up with {self.events:,} events")
            catching_up = await self._catch_up(database)
            await prove(self.place, database, self.events)
            connection = await database.connect("bench")
            try:
                sizes = await sizes_of(connection, self.place.settings.schema)
                rows = {name: await _rows(connection, size) for name, size in sizes.items()}
            finally:
                await connection.close()
        disk = sum(size.total_bytes for size in sizes.values())
        return [
            self._section((filling, catching_up), disk / self.events),
            self._disk_section(sizes, rows),
        ]

    async def _fill(self, database: Database) -> Phase:
        sampler = Sampler(database, self.tables)
        phase = Phase("filling the log, through Redis", self.events, sampler.samples)
        async with full_redis(self.folder / "backlog", self.place.settings) as redis:
            url = f"{redis.server.url}&stream=firehose_live"
            sampler.pss("Redis", redis.pid)
            async with self._phase(database, phase, sampler, redis.pid):
                feed = self._program(
                    phase, "feed", "ingest", spec(self.events, self.seed), "--to", url
                )
                ingest = self._program(phase, "ingest", "ingest", url, "--database", database.url)
                sampler.rss("feed", feed.pid)
                sampler.rss("ingest", ingest.pid)
                await self._head_reached(database, ingest, feed)
                await feed.wait(60)
                await ingest.stop()
                ingest.check()
        return phase

    async def _catch_up(self, database: Database) -> Phase:
        sampler = Sampler(database, self.tables)
        phase = Phase("catching up", self.events, sampler.samples)
        async with self._phase(database, phase, sampler):
            words = ("run", "--until-caught-up", "--database", database.url)
            run = self._program(phase, "run", *words)
            sampler.rss("run", run.pid)
            await run.wait(self.seconds_max)
        return phase

    @asynccontextmanager
    async def _phase(
        self, database: Database, phase: Phase, sampler: Sampler, redis: int | None = None
    ) -> AsyncIterator[None]:
        """Measures the body, and ends its programs."""
        sampler.pss("Postgres", self.place.postmaster)
        connection = await database.connect("bench")
        try:
            wal, pages = await wal_bytes(connection), await wal_full_pages(connection)
            async with sampler.sampling():
                with self.place.metered(phase.usages, redis):
                    yield
            phase.wal_bytes = await wal_bytes(connection) - wal
            phase.wal_full_pages = await wal_full_pages(connection) - pages
        finally:
            for program in phase.programs.values():
                await program.stop()
            await connection.close()

    def _program(self, phase: Phase, name: str, *words: str) -> Child:
        child = Child(self.folder / f"{name}.log", CLI, *words)
        phase.programs[name] = child
        return child

    async def _head_reached(self, database: Database, ingest: Child, feed: Child) -> None:
        connection = await database.connect("bench")

        async def look() -> bool:
            if feed.ended():
                feed.check()
            return ingest.ended() or await connection.fetchval(HEAD) >= self.events

        try:
            if not await eventually(look, self.seconds_max) or ingest.ended():
                ingest.check()
                raise RuntimeError(f"the log was not filled: {ingest.log.read_text()[-500:]}")
        finally:
            await connection.close()

    def _section(self, phases: Sequence[Phase], disk_bytes: float) -> Section:
        last = phases[-1]
        hours = NETWORK_EVENTS / last.rate / 3600
        halves = last.rates
        slower = "" if halves is None else f"; second half / first: {halves[1] / halves[0]:.2f}"
        wal = sum(phase.wal_bytes for phase in phases) / self.events
        run = last.programs["run"].rss_bytes_max / MIB
        return Section(
            title=f"A backlog of {self.events:,} events",
            heads=("", *(phase.name for phase in phases)),
            rows=_rows_of(phases),
            ratios=[
                f"catching up with {self.events:,} events: {last.rate:,.0f}/s, so 40 million in "
                f"{hours:.1f} h{slower}",
                f"memory of `projector run`: {run:,.0f} MiB at most; WAL {wal:,.0f} bytes an "
                f"event, disk {disk_bytes:,.0f} ({disk_bytes * NETWORK_EVENTS / 1e9:,.0f} GB for "
                "40 million)",
            ],
            figures={phase.name: phase.figures() for phase in phases},
        )

    def _disk_section(self, sizes: Mapping[str, Size], rows: Mapping[str, int]) -> Section:
        lines: list[tuple[str, ...]] = []
        kept = [size for size in sizes.values() if size.total_bytes >= SMALL_BYTES]
        for size in sorted(kept, key=lambda s: -s.total_bytes):
            of = rows[size.table]
            lines.append(
                (
                    size.table,
                    f"{of:,}",
                    f"{size.table_bytes / self.events:,.1f}",
                    f"{size.index_bytes / self.events:,.1f}",
                    f"{size.total_bytes / self.events:,.1f}",
                    f"{size.table_bytes / of:,.0f}" if of else "",
                    f"{size.index_bytes / of:,.0f}" if of else "",
                )
            )
        return Section(
            title=f"Disk after {self.events:,} events, bytes",
            heads=("", "rows", "table/event", "indexes/event", "all/event", "table/row",
                   "indexes/row"),
            rows=lines,
            figures={name: {"rows": rows[name], **asdict(size)} for name, size in sizes.items()},
        )  # fmt: skip


async def _rows(connection: asyncpg.Connection, size: Size) -> int:
    if size.table == LOG:
        return int(await connection.fetchval(HEAD))
    name = f"{quoted(size.schema)}.{quoted(size.table)}"
    return int(await connection.fetchval(f"SELECT count(*) FROM {name}", timeout=3600.0))


def _rows_of(phases: Sequence[Phase]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        ("events/s", *(f"{phase.rate:,.0f}" for phase in phases)),
        ("of the first half, the second", *(_rates(phase) for phase in phases)),
        ("own CPU, µs/event", *(_micros(p, p.own_cpu_seconds) for p in phases)),
        ("Postgres's", *(_micros(p, p.usage.postgres_cpu_seconds) for p in phases)),
        ("Redis's", *(_micros(p, p.usage.redis_cpu_seconds) for p in phases)),
        ("WAL, bytes/event", *(f"{phase.wal_bytes / phase.events:,.0f}" for phase in phases)),
        ("whole pages in it", *(f"{phase.wal_full_pages:,}" for phase in phases)),
    ]
    for name in dict.fromkeys(n for phase in phases for n in phase.programs):
        children = [phase.programs.get(name) for phase in phases]
        peaks = ("" if c is None else f"{c.rss_bytes_max / MIB:,.0f}" for c in children)
        rows.append((f"RSS of {name}, MiB: peak", *peaks))
        rows.append(("  first half, second half", *(_halves(p, name) for p in phases)))
    rows += [
        (f"PSS of {name}, MiB: halves", *(_halves(p, name) for p in phases))
        for name in ("Postgres", "Redis")
    ]
    return [row for row in rows if any(row[1:])]


def _rates(phase: Phase) -> str:
    return ", ".join(f"{rate:,.0f}" for rate in phase.rates or ())


def _micros(phase: Phase, seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds / phase.events * 1e6:.1f}"


def _halves(phase: Phase, name: str) -> str:
    series = phase.samples.memory_bytes.get(name, Series())
    return ", ".join(f"{value / MIB:,.0f}" for value in series.halves) if series.values else ""
