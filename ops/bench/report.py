"""What was measured: medians and spread, ratios first, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from ops.bench.place import Usage
from ops.bench.popularity import Follows

FLOOR = "floor"
RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Report:
    """All figures of one run; `usages` has a list of rounds for each measurement."""

    machine: Mapping[str, str]
    options: Mapping[str, Any]
    events: int
    usages: dict[str, list[Usage]] = field(default_factory=dict)
    follows: list[Follows] = field(default_factory=list)

    def rounds(self, name: str) -> list[Usage]:
        """Where the rounds of a measurement are put."""
        return self.usages.setdefault(name, [])

    def rates(self, name: str) -> list[float]:
        """Events a second, round by round."""
        return [self.events / usage.seconds for usage in self.usages.get(name, [])]

    def ratio(self, name: str, to: str = FLOOR) -> float | None:
        """The median of the ratios of the rounds, each to the floor of its own round."""
        pairs = list(zip(self.rates(name), self.rates(to), strict=False))
        return median(a / b for a, b in pairs) if pairs else None

    def ratios(self) -> list[str]:
        """The ratios that matter, a line each."""
        lines = [
            f"{what}: {ratio:.2f}"
            for what, ratio in (
                ("projected / floor", self.ratio("projected")),
                ("end to end, generated / floor", self.ratio("end to end, generated")),
                ("end to end, file / floor", self.ratio("end to end, file")),
                ("append / COPY into the log", self.ratio("append", "log by COPY")),
            )
            if ratio is not None
        ]
        if self.follows:
            least, most = self.follows[0], self.follows[-1]
            lines += [
                f"follow of an account with {most.followers:,} followers / with "
                f"{least.followers:,}: {most.micros / least.micros:.2f}"
                f" (count(*) per event: {most.counted_micros / least.counted_micros:.0f})",
                f"count(*) per event / ours, at {most.followers:,} followers: "
                f"{most.counted_micros / most.micros:,.0f}",
            ]
        return lines

    def text(self) -> str:
        """The report for a person."""
        parts = ["\n".join(self.ratios()), ", ".join(f"{k} {v}" for k, v in self.machine.items())]
        if self.usages:
            parts.append(self._flow_table())
        if self.follows:
            parts.append(_follows_table(self.follows))
        return "\n\n".join(parts)

    def _flow_table(self) -> str:
        rows = [("", "events/s", "min–max", "to floor", "cpu µs/event: own", "postgres")]
        for name, usages in self.usages.items():
            rates, ratio = self.rates(name), self.ratio(name)
            rows.append((
                name,
                f"{median(rates):,.0f}",
                f"{min(rates):,.0f}–{max(rates):,.0f}",
                "" if ratio is None else f"{ratio:.2f}",
                self._micros(usages, lambda u: u.own_cpu_seconds),
                self._micros(usages, lambda u: u.postgres_cpu_seconds),
            ))  # fmt: skip
        return aligned(rows)

    def _micros(self, usages: Sequence[Usage], of: Callable[[Usage], float | None]) -> str:
        values = [value for usage in usages if (value := of(usage)) is not None]
        return f"{median(values) / self.events * 1e6:.1f}" if values else ""

    def save(self, name: str) -> Path:
        """Writes everything measured to `results/<name>.json`."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{name}.json"
        measured = {
            name: {
                "events_per_second": median(self.rates(name)),
                "events_per_second_min": min(self.rates(name)),
                "events_per_second_max": max(self.rates(name)),
                "to_floor": self.ratio(name),
                "rounds": [asdict(usage) for usage in usages],
            }
            for name, usages in self.usages.items()
        }
        result = {
            "ratios": self.ratios(),
            "machine": dict(self.machine),
            "options": dict(self.options),
            "events": self.events,
            "measured": measured,
            "follows": [asdict(follows) for follows in self.follows],
        }
        path.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", "utf-8")
        return path


def _follows_table(follows: Sequence[Follows]) -> str:
    heads = ("followers", "µs/follow", "min–max", "to least", "count(*) per event, µs", "to ours")
    rows = [
        (
            f"{each.followers:,}",
            f"{each.micros:.1f}",
            f"{min(each.windows):.1f}–{max(each.windows):.1f}",
            f"{each.micros / follows[0].micros:.2f}",
            f"{each.counted_micros:,.0f}",
            f"{each.counted_micros / each.micros:,.0f}",
        )
        for each in follows
    ]
    return aligned([heads, *rows])


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines; the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
