"""The tables of `ops.bench.data_size`: what an event costs by size, and what that is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from statistics import median
from typing import Any, Final

from ops.bench.data_size import SIZES, Cost, Sizes, Work
from ops.bench.place import Place
from ops.bench.rounds import Measured
from ops.bench.section import Section
from ops.bench.spread import Spread
from ops.bench.touched import fault_micros

Of = Callable[[Measured], Spread]
"""A figure of a measurement."""

WINDOW_EVENTS: Final = 10_000
ROWS, COUNTERS, FLOOR = "rows", "counters", "floor"
WAYS: Final = ((False, True), (False, False), (True, True), (True, False))
"""Again or not, with whole pages or not."""


async def size_sections(
    place: Place,
    *,
    seed: int = 1,
    sizes: Sequence[int] = SIZES,
    rounds: int = 5,
    windows: int = 2,
    window_events: int = WINDOW_EVENTS,
) -> list[Section]:
    """What an event costs against the rows that are there: `sizes`, each of all tables together.

    Every turn gives each size a small window to warm up, and then `windows` of `window_events` that
    are measured: half of what a projector takes when it is behind, so that a small table stays one.
    """
    measure = Sizes(
        place, sorted(sizes), seed=seed, rounds=rounds, windows=windows, window_events=window_events
    )
    async with measure.place.fresh() as database:
        costs = await measure.measure(database)
    return [_costs(costs, window_events), _parts(costs)]


def postgres(measured: Measured) -> Spread:
    """Microseconds of Postgres's CPU an event; where they are not known, those by the clock."""
    return measured.postgres() or measured.clock()


def _all(cost: Cost, of: Of, *, again: bool = False, whole: bool = True) -> Spread:
    """Rows and counters together."""
    return of(cost.of(Work(ROWS, again, whole))).plus(of(cost.of(Work(COUNTERS, again, whole))))


def _to_floor(cost: Cost) -> Spread:
    """Rows to the floor of the same size."""
    return postgres(cost.of(Work(ROWS))).over(postgres(cost.of(Work(FLOOR))))


def _costs(costs: Mapping[int, Cost], window_events: int) -> Section:
    least = costs[min(costs)]
    rows = []
    for cost in costs.values():
        all_, floor = _all(cost, Measured.cpu), postgres(cost.of(Work(FLOOR)))
        least_floor = postgres(least.of(Work(FLOOR)))
        rows.append(
            (
                f"{cost.rows[0][0]:,}",
                f"{max(last for _, last in cost.rows):,}",
                f"{cost.bytes[0][0] / 2**20:,.0f}",
                _all(cost, Measured.clock).text(),
                _all(cost, Measured.own).text(),
                _all(cost, postgres).text(),
                all_.over(_all(least, Measured.cpu)).text(".2f"),
                postgres(cost.of(Work(ROWS))).text(),
                postgres(cost.of(Work(COUNTERS))).text(),
                floor.text(),
                floor.over(least_floor).text(".2f"),
                _to_floor(cost).text(".2f"),
                _all(cost, postgres).over(floor).text(".2f"),
            )
        )
    return Section(
        f"Cost of an event against data size, windows of {window_events:,} events",
        ("rows at first", "at last", "MiB at first", "µs/event", "CPU µs/event: own", "Postgres",
         "to least", "of Postgres: rows", "counters", "floor", "to least",
         "rows to floor of that size", "all to it"),
        rows,
        _ratios(costs),
        {"sizes": {str(size): _figures(cost, least) for size, cost in costs.items()}},
    )  # fmt: skip


def _ratios(costs: Mapping[int, Cost]) -> list[str]:
    least, most = costs[min(costs)], costs[max(costs)]
    lines = []
    for again, whole in WAYS:
        if Work(ROWS, again, whole) not in most.measured:
            continue
        both = [_all(cost, Measured.cpu, again=again, whole=whole) for cost in (most, least)]
        floors = [postgres(cost.of(Work(FLOOR, again, whole))) for cost in (most, least)]
        ratio, floor = both[0].over(both[1]), floors[0].over(floors[1])
        lines.append(
            f"event with {max(costs):,} rows / with {min(costs):,}, CPU{_way(again, whole)}: "
            f"{ratio.text('.2f')} ({ratio.span('.2f')}); the floor's: {floor.text('.2f')} "
            f"({floor.span('.2f')})"
        )
    to_floor = [f"{size:,}: {_to_floor(cost).text('.2f')}" for size, cost in costs.items()]
    return [*lines, f"rows / floor of that size, of Postgres's CPU: {', '.join(to_floor)}"]


def _way(again: bool, whole: bool) -> str:
    return f"{', again' if again else ''}{'' if whole else ', without whole pages'}"


def _parts(costs: Mapping[int, Cost]) -> Section:
    """What each kind of work touches."""
    fault = fault_micros()
    rows = [
        _part_row(size, cost, work, fault)
        for what in (ROWS, COUNTERS, FLOOR)
        for again, whole in WAYS
        for size, cost in costs.items()
        if (work := Work(what, again, whole)) in cost.measured
    ]
    return Section(
        f"What that is made of, each for an event; a page fault is {fault:.2f} µs of CPU",
        ("", "rows", "Postgres CPU µs", "min–max", "pages looked at", "of them read", "page faults",
         "faults, µs", "whole pages in WAL", "WAL bytes"),
        rows,
        figures={"fault_micros": fault},
    )  # fmt: skip


def _part_row(size: int, cost: Cost, work: Work, fault: float) -> tuple[str, ...]:
    cpu = postgres(cost.of(work))
    touched = cost.touched[work]
    faults = [t.faults / cost.events for t in touched if t.faults is not None]

    def each(of: str) -> float:
        return median([getattr(t, of) / cost.events for t in touched])

    return (
        f"{work.what}{_way(work.again, work.whole_pages)}",
        f"{size:,}",
        cpu.text(),
        cpu.span(),
        f"{each('pages'):,.1f}",
        f"{each('pages_read'):,.2f}",
        f"{median(faults):,.2f}" if faults else "",
        f"{median(faults) * fault:,.1f}" if faults else "",
        f"{each('whole_pages'):,.3f}",
        f"{each('wal_bytes'):,.0f}",
    )


def _figures(cost: Cost, least: Cost) -> dict[str, Any]:
    """All of it, with every turn."""
    return {
        "rows_at_first_and_last": cost.rows,
        "bytes_at_first_and_last": cost.bytes,
        "events_a_turn": cost.events,
        **_all(cost, Measured.cpu).over(_all(least, Measured.cpu)).figures("cpu_to_least"),
        "work": [
            {
                **asdict(work),
                **measured.clock().figures("micros_an_event"),
                **measured.own().figures("own_cpu_micros_an_event"),
                **postgres(measured).figures("postgres_cpu_micros_an_event"),
                "touched": [asdict(touched) for touched in cost.touched[work]],
            }
            for work, measured in cost.measured.items()
        ],
    }
