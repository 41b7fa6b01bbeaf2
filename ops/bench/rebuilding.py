"""Rebuilding everything from the log, against the live application of the same log.

The programs themselves run, each a process of its own: `projector run` until it has caught up, then
`projector rebuild --all`, which builds all tables and counts beside the live ones, compares both,
and swaps them. The start of a process, about a second, is in both figures.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from ops.bench.flow import append, prove
from ops.bench.place import Place, Usage
from ops.bench.processes import Child
from ops.bench.report import say
from ops.bench.rounds import Rounds
from ops.bench.sampler import MIB
from ops.bench.section import Section
from ops.bench.workload import Feed, Workload
from projector.database import Database

CLI: Final = "projector.cli"
LIVE, REBUILT = "live application", "rebuild"
PROGRAMS: Final = {
    LIVE: ("run", "--until-caught-up"),
    REBUILT: ("rebuild", "--all", "--json", "--rebuild-share", "1"),
}


class Outcome(msgspec.Struct):
    """What `rebuild --json` says that is looked at here."""

    rows_different: int
    counts_different: int
    swapped: bool


class Rebuilding:
    """Measures both, in turn, on databases of their own."""

    def __init__(self, place: Place, workload: Workload, folder: Path) -> None:
        self.place = place
        self.workload = workload
        self.folder = folder
        self.rounds = Rounds()
        self.peaks_mib: dict[str, list[float]] = {name: [] for name in PROGRAMS}

    async def measure(self, rounds: int) -> Section:
        """`rounds` rounds; the programs start cold each time, so there is no warm-up."""
        feed = await self.workload.full()
        for number in range(1, rounds + 1):
            say(f"rebuild: round {number} of {rounds}")
            await self._round(feed)
        return self._section(feed.events)

    async def _round(self, feed: Feed) -> None:
        async with self.place.fresh() as database:
            await append(self.place, database, feed.batches, [])
            for name in PROGRAMS:
                await self._program(name, database, feed.events)
                await prove(self.place, database, feed.events)

    async def _program(self, name: str, database: Database, events: int) -> None:
        words = (*PROGRAMS[name], "--database", database.url)
        usages: list[Usage] = []
        output = self.folder / f"{name}.json"
        with self.place.metered(usages):
            child = Child(self.folder / f"{name}.log", CLI, *words, output=output)
            try:
                await child.wait(300 + events / 500)
            finally:
                await child.stop()
        usage = replace(usages[0], own_cpu_seconds=child.cpu_seconds)
        self.rounds.usages(name, events).append(usage)
        self.peaks_mib[name].append(child.rss_bytes_max / MIB)
        if name == REBUILT:
            outcome = msgspec.json.decode(output.read_bytes(), type=Outcome)
            if outcome != Outcome(0, 0, True):
                raise AssertionError(f"the rebuild differs from what was live: {outcome}")

    def _section(self, events: int) -> Section:
        line = self.rounds.line(REBUILT, LIVE)
        rows = self.rounds.rows(to=(LIVE,))
        peaks = {name: median(values) for name, values in self.peaks_mib.items()}
        return Section(
            title=f"Rebuilding everything from a log of {events:,} events",
            heads=(*self.rounds.heads, f"to {LIVE}", "RSS, MiB: peak"),
            rows=[(*row, f"{peaks[row[0]]:,.0f}") for row in rows],
            ratios=[line] if line else [],
            figures={**self.rounds.figures(), "rss_peak_mib": self.peaks_mib},
        )
