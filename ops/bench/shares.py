"""Each projection's share of the time: all of them in one daemon, over a backlog.

Whose the CPU is, is asked while they run: all figures of a round are of the same run, so that their
ratios hold whatever else the machine does. What several projections do together, as a group, has
one line.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from statistics import median
from typing import Any, Final

from events.event import Event
from ops.bench.flow import append, project, prove
from ops.bench.meter import LOOP, MEASURING, Backends, Meter, Metered
from ops.bench.place import Place, Usage
from ops.bench.report import say
from ops.bench.section import Section
from ops.bench.workload import Feed, Workload
from projector.daemon import Daemon
from projector.database import Database
from projector.declare import Fed
from projector.groups import groups_of

MIX: Final = "rare=0.004"
"""So that every collection occurs, about as often as on the network."""
READING: Final = "reader"
"""Of the connection that reads the log for all; and of what is done with what it reads."""
NUMBERS: Final = "SELECT projection, events FROM projector.checkpoint"
TOGETHER: Final = {READING: "reading the log, for all", LOOP: "the loop and its connections"}
REST: Final = "what else runs"


@dataclass(frozen=True, slots=True)
class Shares:
    """What one run took: CPU seconds by whose they are, and how many each had to apply."""

    usage: Usage
    own: Mapping[str, float]
    postgres: Mapping[str, float]
    numbers: Mapping[str, int]

    @property
    def seconds(self) -> float:
        """All CPU."""
        return sum(self.own.values()) + sum(self.postgres.values())


class ProjectionShares:
    """Measures the shares of all that is kept."""

    def __init__(self, place: Place, workload: Workload) -> None:
        self.place = place
        self.workload = workload
        self.rounds: list[Shares] = []
        together = groups_of(place.declarations)
        self.members = {group.name: group.names for group in together}
        within = {name for names in self.members.values() for name in names} - {*self.members}
        self.names = [d.name for d in place.declarations if d.name not in within]
        self.counted = {d.name for d in place.declarations if isinstance(d, Fed)}

    async def measure(self, rounds: int) -> Section:
        """A warm-up, then `rounds` rounds."""
        full, warm = await self.workload.full(), await self.workload.warm()
        say("shares: warming up")
        await self._round(warm)
        for number in range(1, rounds + 1):
            say(f"shares: round {number} of {rounds}")
            self.rounds.append(await self._round(full))
        return self._section(full)

    async def _round(self, feed: Feed) -> Shares:
        place = self.place
        async with place.fresh() as database:
            await append(place, database, feed.batches, [])
            shares = await self._run(database)
            await prove(place, database, feed.events)
        return shares

    async def _run(self, database: Database) -> Shares:
        usages: list[Usage] = []
        backends = Backends(database)
        with measured_tasks(self.names) as meter:
            async with backends.watched():
                await project(
                    self.place, database, usages, prepare=partial(reading_measured, meter)
                )
        connection = await database.connect("bench")
        try:
            numbers = dict(await connection.fetch(NUMBERS))
        finally:
            await connection.close()
        (usage,) = usages
        return Shares(usage, self._own(usage, meter), self._postgres(usage, backends), numbers)

    def _own(self, usage: Usage, meter: Meter) -> dict[str, float]:
        seconds = dict(meter.seconds)
        measuring = seconds.pop(MEASURING, 0.0)
        found = {name: seconds.pop(name, 0.0) for name in (*self.names, READING, LOOP)}
        return found | {REST: max(0.0, usage.own_cpu_seconds - measuring - sum(found.values()))}

    def _postgres(self, usage: Usage, backends: Backends) -> dict[str, float]:
        """By name, whatever the connection is for: applying, looking up ahead, merging."""
        found = dict.fromkeys((*self.names, READING), 0.0)
        measuring = 0.0
        for role, seconds in backends.seconds.items():
            name = role.rpartition(" ")[2]
            if name in found:
                found[name] += seconds
            elif name == MEASURING:
                measuring += seconds
        total = usage.postgres_cpu_seconds or 0.0
        return found | {REST: max(0.0, total - measuring - sum(found.values()))}

    def _section(self, feed: Feed) -> Section:
        events = feed.events
        middle = sorted(self.rounds, key=lambda shares: shares.seconds)[len(self.rounds) // 2]
        rate = median(events / shares.usage.seconds for shares in self.rounds)
        own, postgres = (sum(of.values()) / events * 1e6 for of in (middle.own, middle.postgres))
        return Section(
            f"Shares of {len(self.place.declarations)} projections, {events:,} events",
            ("", "of", "number", "CPU µs of one: own", "Postgres", "of one of the log", "share"),
            list(self._rows(middle, events)),
            [
                f"all projections: {rate:,.0f} events/s, CPU of an event {own:.1f} µs of our own "
                f"and {postgres:.1f} of Postgres"
            ],
            {"events": events, "mix": self.workload.mix, "events_per_second": rate,
             "rounds": [self._figures(shares) for shares in self.rounds]},
        )  # fmt: skip

    def _rows(self, shares: Shares, events: int) -> Iterator[tuple[str, ...]]:
        """One for each, the dearest first; then what is done for all."""
        both = Counter(shares.own)
        both.update(shares.postgres)
        names = sorted(self.names, key=lambda name: -both[name])
        for name in (*names, READING, LOOP, REST):
            number = sum(shares.numbers.get(member, 0) for member in self.members.get(name, [name]))
            of = "" if name not in self.names else "deltas" if name in self.counted else "events"
            yield (
                self._called(name),
                of,
                f"{number:,}" if of else "",
                _micros(shares.own.get(name), number),
                _micros(shares.postgres.get(name), number),
                _micros(both[name], events),
                f"{both[name] / shares.seconds:.1%}",
            )

    def _called(self, name: str) -> str:
        others = [member for member in self.members.get(name, ()) if member != name]
        return TOGETHER.get(name, f"{name}, with {', '.join(others)}" if others else name)

    def _figures(self, shares: Shares) -> dict[str, Any]:
        return {**asdict(shares.usage), "own_cpu_seconds_by": dict(shares.own),
                "postgres_cpu_seconds_by": dict(shares.postgres),
                "numbers": dict(shares.numbers)}  # fmt: skip


def _micros(seconds: float | None, number: int) -> str:
    return "" if seconds is None or not number else f"{seconds / number * 1e6:.1f}"


@contextmanager
def measured_tasks(names: Sequence[str]) -> Iterator[Meter]:
    """Tasks that are made in the body are measured; so is what runs between them."""
    loop, meter = asyncio.get_running_loop(), Meter(names)
    loop.set_task_factory(meter.task)
    try:
        yield meter
    finally:
        meter.switch(LOOP)
        loop.set_task_factory(None)


def reading_measured(meter: Meter, daemon: Daemon) -> None:
    """Has a daemon's reader measured apart from whoever it reads for."""
    reader = daemon.reader
    read = reader._read

    async def measured(after: int, through: int) -> list[Event]:
        return await Metered(meter, read(after, through), READING)

    reader._read = measured
