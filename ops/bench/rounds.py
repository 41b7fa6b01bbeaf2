"""Measurements that are made in turn, round after round: rates, ratios within a round, rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Final

from ops.bench.place import Usage
from ops.bench.spread import Spread

Of = Callable[[Usage], float | None]
"""A part of what something took."""

HEADS: Final = ("", "{of}/s", "min–max", "µs/{one}", "CPU µs/{one}: own", "Postgres", "Redis")


@dataclass(slots=True)
class Measured:
    """One thing measured: how many of it each round did, and what each round took."""

    count: int
    usages: list[Usage] = field(default_factory=list)

    @property
    def rates(self) -> list[float]:
        """How many a second, round by round."""
        return [self.count / usage.seconds for usage in self.usages]

    def micros(self, of: Of) -> Spread | None:
        """Microseconds for one, round by round; None where a round does not know."""
        known = [value for usage in self.usages if (value := of(usage)) is not None]
        if not known or len(known) < len(self.usages):
            return None
        return Spread.of(seconds / self.count * 1e6 for seconds in known)

    def clock(self) -> Spread:
        """Microseconds for one by the clock."""
        return Spread.of(usage.seconds / self.count * 1e6 for usage in self.usages)

    def own(self) -> Spread:
        """Microseconds of our CPU for one."""
        return Spread.of(usage.own_cpu_seconds / self.count * 1e6 for usage in self.usages)

    def postgres(self) -> Spread | None:
        """Microseconds of Postgres's CPU for one, where they are known."""
        return self.micros(lambda usage: usage.postgres_cpu_seconds)

    def cpu(self) -> Spread:
        """Microseconds of all CPU for one that is known of, but Redis's."""
        return self.own().plus(self.postgres())

    def row(self, name: str) -> tuple[str, ...]:
        """As a row under HEADS."""
        rates = self.rates
        redis = self.micros(lambda usage: usage.redis_cpu_seconds)
        columns = (self.clock(), self.own(), self.postgres(), redis)
        return (
            name,
            f"{median(rates):,.0f}",
            f"{min(rates):,.0f}–{max(rates):,.0f}",
            *(column.text(".1f") if column else "" for column in columns),
        )


class Rounds:
    """Everything that a part measured, by name. What took no round is left out of every output."""

    def __init__(self, of: str = "event") -> None:
        self.of = of
        self._measured: dict[str, Measured] = {}

    def usages(self, name: str, count: int) -> list[Usage]:
        """Where the rounds of a measurement are put, each of which does `count`."""
        return self._measured.setdefault(name, Measured(count)).usages

    @property
    def measured(self) -> dict[str, Measured]:
        """What has rounds."""
        return {name: each for name, each in self._measured.items() if each.usages}

    def ratios(self, name: str, to: str) -> list[float]:
        """The rates to those of another measurement, each to that of its own round."""
        a, b = self.measured.get(name), self.measured.get(to)
        return [x / y for x, y in zip(a.rates, b.rates, strict=False)] if a and b else []

    def line(self, name: str, to: str) -> str | None:
        """The ratio in words: the median, and from where to where it went."""
        values = self.ratios(name, to)
        if not values:
            return None
        spread = f" ({min(values):.2f}–{max(values):.2f})" if len(values) > 1 else ""
        return f"{name} / {to}: {median(values):.2f}{spread}"

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads of the table."""
        return tuple(head.format(of=f"{self.of}s", one=self.of) for head in HEADS)

    def rows(self, *, to: Sequence[str] = ()) -> list[tuple[str, ...]]:
        """The table; with a column for the ratio to each of `to`."""
        rows = []
        for name, measured in self.measured.items():
            ratios = [self.ratios(name, other) for other in to]
            cells = (f"{median(values):.2f}" if values else "" for values in ratios)
            rows.append((*measured.row(name), *cells))
        return rows

    def figures(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            name: {
                f"{self.of}s": measured.count,
                f"{self.of}s_per_second": median(measured.rates),
                f"{self.of}s_per_second_min": min(measured.rates),
                f"{self.of}s_per_second_max": max(measured.rates),
                "rounds": [asdict(usage) for usage in measured.usages],
            }
            for name, measured in self.measured.items()
        }
