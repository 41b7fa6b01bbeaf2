"""What an event costs, against how many projections there are.

A projection with an aggregate, copied N times, each with its collection. The log has as many events
whatever N is, and the same number for each copy; one daemon applies it. (Against how much is there
already: `ops.bench.data_size`.)
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any, Final

import msgspec

from events.event import Batch, Event
from events.generate import Generator
from events.generate.mix import SHARES, Mix
from ops.bench.copies import copies_of
from ops.bench.flow import append, project, prove
from ops.bench.place import Place, Usage
from ops.bench.rounds import Measured
from ops.bench.section import Section
from projector.declare import Aggregate, Declaration, Projection

NUMBERS: Final = (1, 2, 4, 8)
COPIED: Final = "follow"
HEADS: Final = ("µs/event", "min–max", "to least", "cpu µs/event: own", "postgres", "to least")


async def number_section(
    place: Place,
    *,
    seed: int = 1,
    numbers: Sequence[int] = NUMBERS,
    rounds: int = 3,
    events: int = 160_000,
) -> Section:
    """What an event costs against how many projections there are, each with its aggregate.

    The log has about `events` events in all, as many for each projection; a warm-up goes before.
    """
    numbers = sorted(numbers)
    rng = random.Random(seed)
    base = _followed_by_one(place.declarations)
    history = _history(base[0], seed, events // min(numbers))
    copies = {n: [copies_of(base, f"_{i}", collections=True) for i in range(n)] for n in numbers}
    measured = {n: Measured(events // n * n) for n in numbers}
    await _daemon(place, copies[1] if 1 in copies else copies[numbers[0]], history[:20_000], [])
    for _ in range(rounds):
        for n in rng.sample(numbers, len(numbers)):
            await _daemon(place, copies[n], history[: events // n], measured[n].usages)
    least = measured[numbers[0]]
    return Section(
        f"Cost of an applied event against the number of projections, {events:,} events",
        ("projections", *HEADS),
        [(f"{n}", *_cells(each, least)) for n, each in measured.items()],
        [_ratio(measured)],
        {"numbers": {str(n): _figures(each, least) for n, each in measured.items()}},
    )


def _cells(measured: Measured, least: Measured) -> tuple[str, ...]:
    """The cells of the table under `HEADS`."""
    clock, postgres = measured.clock(), measured.postgres()
    return (
        clock.text(),
        clock.span(),
        clock.over(least.clock()).text(".2f"),
        measured.own().text(),
        postgres.text() if postgres else "",
        measured.cpu().over(least.cpu()).text(".2f"),
    )


def _figures(measured: Measured, least: Measured) -> dict[str, Any]:
    """All of it, with every round."""
    clock, postgres = measured.clock(), measured.postgres()
    return {
        "events_a_round": measured.count,
        **clock.figures("micros_an_event"),
        **clock.over(least.clock()).figures("to_least"),
        **measured.own().figures("own_cpu_micros_an_event"),
        **(postgres.figures("postgres_cpu_micros_an_event") if postgres else {}),
        **measured.cpu().over(least.cpu()).figures("cpu_to_least"),
    }


def _ratio(measured: Mapping[int, Measured]) -> str:
    least, most = measured[min(measured)], measured[max(measured)]
    ratio, cpu = most.clock().over(least.clock()), most.cpu().over(least.cpu())
    return (
        f"event with {max(measured):,} projections / with {min(measured):,}: {ratio.text('.2f')} "
        f"({ratio.span('.2f')}), of CPU {cpu.text('.2f')} ({cpu.span('.2f')})"
    )


async def _daemon(
    place: Place,
    copies: Sequence[Sequence[Declaration]],
    history: Sequence[Event],
    into: list[Usage],
) -> None:
    """Appends the history once for each copy, event by event, and has a daemon apply it."""
    declared = [d for copy in copies for d in copy]
    where = replace(place, declarations=declared)
    collections = [d.collection for d in declared if isinstance(d, Projection)]
    events = [
        msgspec.structs.replace(event, collection=collection)
        for event in history
        for collection in collections
    ]
    most = place.settings.batch_events_max
    batches = [Batch(str(at), events[at : at + most]) for at in range(0, len(events), most)]
    async with where.fresh() as database:
        await append(where, database, batches, [])
        await project(where, database, into)
        await prove(where, database, len(events))


def _followed_by_one(declarations: Sequence[Declaration]) -> tuple[Projection, Aggregate]:
    """A projection and an aggregate that counts it."""
    projection = next(d for d in declarations if d.name == COPIED)
    assert isinstance(projection, Projection)
    aggregate = next(
        d
        for d in declarations
        if isinstance(d, Aggregate) and any(c.of is projection for c in d.counters.values())
    )
    return projection, aggregate


def _history(projection: Projection, seed: int, events: int) -> list[Event]:
    """The events of a generated firehose that concern one projection."""
    shares = {name: float(name == projection.name) for name in SHARES}
    stream = Generator(seed, mix=replace(Mix(), **shares)).events()
    return list(islice((e for e in stream if e.collection == projection.collection), events))
