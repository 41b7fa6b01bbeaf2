"""How far live projections fall behind while everything is rebuilt beside them.

The log is filled first; then `projector ingest` adds events at a steady rate, `projector run`
applies them, and `projector rebuild --all` builds all tables and counts beside the live ones. Asked
ten times a second, over its own connection: how long the oldest event that a projection has not
applied has been in the log, and whether every table can be read.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from statistics import median
from typing import Final

import asyncpg

from ops.bench.flow import append
from ops.bench.place import Place
from ops.bench.processes import Child
from ops.bench.report import say
from ops.bench.section import Section
from ops.bench.workload import Workload
from projector.status import read_status

CLI: Final = "projector.cli"
RATE: Final = 2_000
BEFORE_SECONDS: Final = 20.0
LOOKS_A_SECOND: Final = 10
CAUGHT_UP_SECONDS: Final = 0.5
TABLES: Final = ("post", "follow", "like", "repost", "profile_agg", "post_agg", "duplicate_record")
HEADS: Final = ("", "looks", "lag, s: median", "99 %", "max", "read of all tables, ms: max")


class LiveLag:
    """Measures the lag before a rebuild and while it lasts."""

    def __init__(self, place: Place, workload: Workload, folder: Path) -> None:
        self.place = place
        self.workload = workload
        self.folder = folder
        self.lags: dict[str, list[float]] = {"before": [], "while rebuilding": []}
        self.reads: dict[str, list[float]] = {name: [] for name in self.lags}

    async def measure(self) -> Section:
        """One run."""
        feed = await self.workload.full()
        source = f"generate:seed=99,accounts=20000,rate={RATE}"
        async with self.place.fresh() as database:
            await append(self.place, database, feed.batches, [])
            where = ("--database", database.url)
            child = Child(self.folder / "fill.log", CLI, "run", "--until-caught-up", *where)
            await child.wait(300 + feed.events / 500)
            daemon = Child(self.folder / "run.log", CLI, "run", *where)
            ingest = Child(self.folder / "ingest.log", CLI, "ingest", source, *where)
            connection = await database.connect("bench looks")
            try:
                await self._settled(connection)
                await self._watch(connection, "before", time.monotonic() + BEFORE_SECONDS)
                say("rebuild-live: rebuilding")
                words = ("rebuild", "--all", "--json", *where)
                rebuild = Child(self.folder / "rebuild.log", CLI, *words)
                waiting = asyncio.create_task(rebuild.wait(600 + feed.events / 200))
                watching = asyncio.create_task(
                    self._watch(connection, "while rebuilding", float("inf"))
                )
                await asyncio.wait((waiting, watching), return_when=asyncio.FIRST_COMPLETED)
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
                await waiting
            finally:
                await connection.close()
                await ingest.stop()
                await daemon.stop()
        return self._section(feed.events)

    async def _settled(self, connection: asyncpg.Connection) -> None:
        """Until the daemon is in step with what comes."""
        deadline = time.monotonic() + 120
        quiet = 0
        while quiet < LOOKS_A_SECOND:
            if time.monotonic() > deadline:
                raise AssertionError("the daemon does not come into step")
            await asyncio.sleep(1 / LOOKS_A_SECOND)
            quiet = quiet + 1 if await self._lag(connection) < CAUGHT_UP_SECONDS else 0

    async def _lag(self, connection: asyncpg.Connection) -> float:
        status = await read_status(connection, self.place.declarations)
        return max(p.lag_seconds for p in status.projections if p.kind == "table")

    async def _watch(self, connection: asyncpg.Connection, phase: str, until: float) -> None:
        schema = self.place.settings.schema
        while time.monotonic() < until:
            self.lags[phase].append(await self._lag(connection))
            begun = time.monotonic()
            for table in TABLES:
                await connection.fetch(f'SELECT * FROM {schema}."{table}" LIMIT 10')
            self.reads[phase].append((time.monotonic() - begun) * 1000)
            await asyncio.sleep(1 / LOOKS_A_SECOND)

    def _section(self, events: int) -> Section:
        rows = []
        for phase, lags in self.lags.items():
            ordered = sorted(lags)
            rows.append(
                (phase, str(len(lags)), f"{median(lags):.2f}",
                 f"{ordered[len(ordered) * 99 // 100]:.2f}", f"{ordered[-1]:.2f}",
                 f"{max(self.reads[phase]):,.0f}")
            )  # fmt: skip
        most = max(self.lags["while rebuilding"])
        return Section(
            title=f"Lag at {RATE:,} events/s while a log of {events:,} is rebuilt",
            heads=HEADS,
            rows=rows,
            ratios=[f"lag while rebuilding, at most: {most:.2f} s"],
            figures={"lag_seconds": self.lags, "read_ms": self.reads},
        )
