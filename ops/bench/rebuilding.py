"""Rebuilding everything from the log and from its archive, against the live application of it.

The programs themselves run, each a process of its own: `projector run` until it has caught up, then
`projector rebuild --all`, which builds all tables and counts beside the live ones, compares both,
and swaps them; then `projector archive`, and the same rebuild once more, which finds every event in
Parquet files. The start of a process, about a second, is in all figures. Each program begins where
nothing is left to vacuum or to write out of what the one before did.
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
ARCHIVED, FROM_ARCHIVE = "archive", "rebuild from the archive"
REBUILD: Final = ("rebuild", "--all", "--json", "--rebuild-share", "1")
PROGRAMS: Final = {
    LIVE: ("run", "--until-caught-up"),
    REBUILT: REBUILD,
    # Ingest, which would read the log's end at its start, is over.
    ARCHIVED: ("archive", "--json", "--recent-events", "0", "--to"),
    FROM_ARCHIVE: REBUILD,
}
SETTLE_SECONDS_MAX: Final = 600
PARTITIONS: Final = 4
"""In how many the log lies: only full ones are archived."""
FILED: Final = """
SELECT (SELECT count(*) FROM projector.event_log) AS left_live, sum(live_bytes)::bigint AS live,
    sum(bytes)::bigint AS archive
FROM projector.log_archive
"""


class Outcome(msgspec.Struct):
    """What `rebuild --json` says that is looked at here."""

    rows_different: int
    counts_different: int
    swapped: bool


class Rebuilding:
    """Measures all of them, in turn, on databases of their own."""

    def __init__(self, place: Place, workload: Workload, folder: Path) -> None:
        self.place = place
        self.workload = workload
        self.folder = folder
        self.rounds = Rounds()
        self.peaks_mib: dict[str, list[float]] = {name: [] for name in PROGRAMS}
        self.bytes_per_event: dict[str, float] = {}

    async def measure(self, rounds: int) -> Section:
        """`rounds` rounds; the programs start cold each time, so there is no warm-up."""
        feed = await self.workload.full()
        for number in range(1, rounds + 1):
            say(f"rebuild: round {number} of {rounds}")
            await self._round(feed)
        return self._section(feed.events)

    async def _round(self, feed: Feed) -> None:
        chosen = replace(self.place.settings, partition_events=feed.events // PARTITIONS)
        place = replace(self.place, settings=chosen)
        async with place.fresh() as database:
            await append(place, database, feed.batches, [])
            for name in PROGRAMS:
                await self._settle(database)
                await self._program(name, database, feed.events)
                if name == ARCHIVED:
                    await self._weigh(database, feed)
                else:
                    await prove(place, database, feed.events)

    async def _settle(self, database: Database) -> None:
        """Does what was left to do in the background, so that the next program does not pay it:
        rows just written to vacuum and analyse, and pages to write out."""
        connection = await database.connect("bench settles")
        try:
            await connection.execute("VACUUM (ANALYZE)", timeout=SETTLE_SECONDS_MAX)
            await connection.execute("CHECKPOINT", timeout=SETTLE_SECONDS_MAX)
        finally:
            await connection.close()

    async def _program(self, name: str, database: Database, events: int) -> None:
        words = [*PROGRAMS[name], "--database", database.url]
        if name == ARCHIVED:
            words.insert(len(PROGRAMS[name]), str(self.folder / "archive"))
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
        if PROGRAMS[name] is REBUILD:
            outcome = msgspec.json.decode(output.read_bytes(), type=Outcome)
            if outcome != Outcome(0, 0, True):
                raise AssertionError(f"the rebuild differs from what was live: {outcome}")

    async def _weigh(self, database: Database, feed: Feed) -> None:
        """Notes the log's size in its forms; what fills no partition must be all that is left."""
        connection = await database.connect("bench looks")
        try:
            found = await connection.fetchrow(FILED)
        finally:
            await connection.close()
        if found["left_live"] >= PARTITIONS:
            raise AssertionError(f"{found['left_live']} events were not archived")
        # Without the ends of the lines.
        raw = feed.file.stat().st_size - feed.events
        for name, total in {"raw": raw, "live": found["live"], "archive": found["archive"]}.items():
            self.bytes_per_event[name] = total / feed.events

    def _section(self, events: int) -> Section:
        lines = [self.rounds.line(name, LIVE) for name in (REBUILT, FROM_ARCHIVE)]
        weights = self.bytes_per_event
        lines.append(
            f"bytes an event: {weights['raw']:.1f} as JSON, {weights['live']:.1f} in the live log, "
            f"{weights['archive']:.1f} in the archive, {weights['archive'] / weights['raw']:.1%}"
        )
        rows = self.rounds.rows(to=(LIVE,))
        peaks = {name: median(values) for name, values in self.peaks_mib.items()}
        return Section(
            title=f"Rebuilding everything from a log of {events:,} events",
            heads=(*self.rounds.heads, f"to {LIVE}", "RSS, MiB: peak"),
            rows=[(*row, f"{peaks[row[0]]:,.0f}") for row in rows],
            ratios=[line for line in lines if line],
            figures={
                **self.rounds.figures(),
                "rss_peak_mib": self.peaks_mib,
                "bytes_per_event": weights,
            },
        )
