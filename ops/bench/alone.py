"""Each projection by itself, over the same log: what an event of its collection costs.

The log is there; every table projection is caught up with it alone, so that nothing else wants the
processor; what it counts stays in the outbox, and is merged by each aggregate alone afterwards.
What a daemon needs to begin (connections, leases, about 50 ms) is in the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from ops.bench.flow import append, project, prove
from ops.bench.place import Place
from ops.bench.report import say
from ops.bench.rounds import Rounds
from ops.bench.section import Section
from ops.bench.workload import Feed, Workload
from projector.database import Database
from projector.declare import Aggregate, Declaration, Projection

OF_COLLECTION: Final = "SELECT count(*) FROM projector.event_log WHERE collection = ANY($1)"
MERGED: Final = "SELECT events FROM projector.checkpoint WHERE projection = $1"


class Alone:
    """Measures projections, and aggregates, one at a time."""

    def __init__(self, place: Place, workload: Workload) -> None:
        self.place = place
        self.workload = workload
        declared: Sequence[Declaration] = place.declarations
        self.projections = [d for d in declared if isinstance(d, Projection)]
        self.aggregates = [d for d in declared if isinstance(d, Aggregate)]
        self._clear()

    def _clear(self) -> None:
        self.tables, self.counts = Rounds("event"), Rounds("delta")

    async def measure(self, rounds: int) -> Section:
        """A warm-up, then `rounds` rounds."""
        full, warm = await self.workload.full(), await self.workload.warm()
        say("apply: warming up")
        await self._round(warm)
        self._clear()
        for number in range(1, rounds + 1):
            say(f"apply: round {number} of {rounds}")
            await self._round(full)
        return self._section()

    async def _round(self, feed: Feed) -> None:
        place = self.place
        async with place.fresh() as database:
            await append(place, database, feed.batches, [])
            for projection in self.projections:
                events = await _number(database, OF_COLLECTION, projection.collections)
                into = self.tables.usages(projection.name, events)
                await project(place, database, into, [projection.name])
            for aggregate in self.aggregates:
                into = []
                await project(place, database, into, [aggregate.name])
                deltas = await _number(database, MERGED, aggregate.name)
                self.counts.usages(aggregate.name, deltas).extend(into)
            await prove(place, database, feed.events)

    def _section(self) -> Section:
        both = {**self.tables.measured, **self.counts.measured}
        rows = [(*row[:1], "events", *row[1:]) for row in self.tables.rows()]
        rows += [(*row[:1], "deltas", *row[1:]) for row in self.counts.rows()]
        rows = [(*row[:2], f"{both[row[0]].count:,}", *row[2:-1]) for row in rows]
        rates = {name: median(m.rates) for name, m in self.tables.measured.items()}
        slowest = min(rates, key=rates.__getitem__)
        return Section(
            title="Each projection alone",
            heads=("", "of", "number", "a second", "min–max", "µs", "CPU µs: own", "Postgres"),
            rows=rows,
            ratios=[f"slowest projection alone: {slowest}, {rates[slowest]:,.0f} of its events/s"],
            figures={"tables": self.tables.figures(), "aggregates": self.counts.figures()},
        )


async def _number(database: Database, sql: str, of: str | Sequence[str]) -> int:
    connection = await database.connect("bench")
    try:
        return int(await connection.fetchval(sql, of))
    finally:
        await connection.close()
