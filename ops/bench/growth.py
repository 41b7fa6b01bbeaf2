"""What an event costs, against how much is there already, and how many projections there are.

By size: tables of several sizes lie in one database, planted by `ops.bench.plant`, with everything
that the engine keeps beside them. Each is a copy of all declarations, and all are given the same
windows, which do the same to each, since none of their keys was planted. One turn: vacuum, analyse
and a checkpoint, a window to warm up, then the measured ones. So every turn writes whole pages to
the WAL, as is done after a checkpoint, and the larger the tables, the more of them; and none has to
pay for an autovacuum that another called for.

By number: a projection with an aggregate, copied N times, each with its collection. The log has as
many events whatever N is, and the same number for each copy; one daemon applies it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

import asyncpg
import msgspec

from events.event import Batch, Event
from events.generate import Generator
from events.generate.mix import SHARES, Mix
from ops.bench.copies import copies_of
from ops.bench.engine import Done, Engine
from ops.bench.flow import append, project, prove
from ops.bench.place import Place, Usage
from ops.bench.plant import accounts_followed, checkpoint, plant
from ops.bench.report import say
from ops.bench.section import Section
from ops.bench.spread import Spread
from projector.database import APPLY_SETTINGS, Database
from projector.declare import Aggregate, Declaration, Projection
from projector.statements import quoted

SIZES: Final = (10_000, 100_000, 1_000_000)
NUMBERS: Final = (1, 2, 4, 8)
ACCOUNTS: Final = 1_000_000
COPIED: Final = "follow"

TABLES: Final = """
SELECT c.oid::regclass::text AS name, pg_total_relation_size(c.oid) AS bytes FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relname LIKE '%\\_' || $1
    AND c.relnamespace IN ($2::text::regnamespace, 'projector'::regnamespace)
"""
NO_AUTOVACUUM: Final = "ALTER TABLE %s SET (autovacuum_enabled = off)"


@dataclass(slots=True)
class Cost:
    """What one size, or one number of projections, took, turn by turn, of so many events each."""

    events: int
    usages: list[Usage] = field(default_factory=list)
    about: dict[str, int] = field(default_factory=dict)

    def micros(self) -> Spread:
        """Microseconds an event, by the clock."""
        return Spread.of(u.seconds / self.events * 1e6 for u in self.usages)

    def own(self) -> Spread:
        """Microseconds of our CPU an event."""
        return Spread.of(u.own_cpu_seconds / self.events * 1e6 for u in self.usages)

    def postgres(self) -> Spread | None:
        """Microseconds of Postgres's CPU an event, where they are known."""
        known = [u.postgres_cpu_seconds for u in self.usages if u.postgres_cpu_seconds is not None]
        if len(known) < len(self.usages):
            return None
        return Spread.of(seconds / self.events * 1e6 for seconds in known)

    def cells(self, least: Cost) -> tuple[str, ...]:
        """The cells of the table under `HEADS`."""
        postgres = self.postgres()
        ratio = self.micros().over(least.micros())
        cpu = _cpu(self).over(_cpu(least))
        return (
            self.micros().text(),
            self.micros().span(),
            ratio.text(".2f"),
            self.own().text(),
            postgres.text() if postgres else "",
            cpu.text(".2f"),
        )

    def figures(self, least: Cost) -> dict[str, Any]:
        """All of it, with every turn."""
        postgres = self.postgres()
        return {
            **self.about,
            "events_a_round": self.events,
            **self.micros().figures("micros_an_event"),
            **self.micros().over(least.micros()).figures("to_least"),
            **self.own().figures("own_cpu_micros_an_event"),
            **(postgres.figures("postgres_cpu_micros_an_event") if postgres else {}),
            **_cpu(self).over(_cpu(least)).figures("cpu_to_least"),
        }


HEADS: Final = ("µs/event", "min–max", "to least", "cpu µs/event: own", "postgres", "to least")


def _cpu(measured: Cost) -> Spread:
    """All CPU that is known of."""
    postgres = measured.postgres()
    if postgres is None:
        return measured.own()
    pairs = zip(measured.own().values, postgres.values, strict=True)
    return Spread.of(a + b for a, b in pairs)


class Sizes:
    """Measures tables of several sizes, in one database."""

    def __init__(
        self,
        place: Place,
        sizes: Sequence[int],
        *,
        seed: int,
        rounds: int,
        windows: int,
        window_events: int,
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.windows = windows
        self.copies = {size: copies_of(place.declarations, f"_{size}") for size in sizes}
        declared = [d for copies in self.copies.values() for d in copies]
        self.place = replace(place, declarations=declared)
        self.engines = {size: Engine(c, place.settings) for size, c in self.copies.items()}
        self.measured = {size: Cost(windows * window_events) for size in sizes}
        self.connections: dict[int, asyncpg.Connection] = {}
        self.turns = _turns(seed, rounds, windows + 1, window_events)

    async def measure(self, database: Database) -> dict[int, Cost]:
        """Plants all sizes, then gives each its turn in every round."""
        followed = accounts_followed(self.seed, ACCOUNTS)
        for size, copies in self.copies.items():
            say(f"planting {size:,} rows")
            await plant(database, copies, self.place.settings.schema, size, followed)
        async with AsyncExitStack() as stack:
            for size in self.copies:  # As many connections, so that none forgets its statements.
                connection = await database.connect("growth", **APPLY_SETTINGS)
                stack.push_async_callback(connection.close)
                self.connections[size] = connection
                for table in await self._tables(size):
                    await connection.execute(NO_AUTOVACUUM % table["name"])
                await self._weigh(size, "at_first")
            for turn in self.turns:
                for size in self.rng.sample(list(self.copies), len(self.copies)):
                    await self._turn(size, turn)
            for size in self.copies:
                await self._weigh(size, "at_last")
        did: list[Done] = [engine.done for engine in self.engines.values()]
        assert did[0].inserted and all(done == did[0] for done in did), did
        await prove(self.place, database, 0)
        return self.measured

    async def _turn(self, size: int, turn: Sequence[Sequence[Event]]) -> None:
        connection, engine = self.connections[size], self.engines[size]
        names = ", ".join([table["name"] for table in await self._tables(size)])
        await connection.execute(f"VACUUM (ANALYZE) {names}")
        await checkpoint(connection)
        await engine.apply(connection, turn[0])
        with self.place.metered(self.measured[size].usages):
            for events in turn[1:]:
                await engine.apply(connection, events)

    async def _tables(self, size: int) -> list[asyncpg.Record]:
        schema = quoted(self.place.settings.schema)
        return await self.connections[size].fetch(TABLES, str(size), schema)

    async def _weigh(self, size: int, when: str) -> None:
        schema = quoted(self.place.settings.schema)
        rows = 0
        for declaration in self.copies[size]:
            if isinstance(declaration, Projection):
                table = f"{schema}.{quoted(declaration.table.name)}"
                rows += await self.connections[size].fetchval(f"SELECT count(*) FROM {table}")
        held = sum(table["bytes"] for table in await self._tables(size))
        self.measured[size].about |= {f"rows_{when}": rows, f"bytes_{when}": held}


def _turns(seed: int, rounds: int, windows: int, window_events: int) -> list[list[list[Event]]]:
    """The windows of each round, of one generated firehose; they carry their offsets."""
    stream = (
        msgspec.structs.replace(event, log_offset=offset)
        for offset, event in enumerate(Generator(seed, ACCOUNTS).events(), 1)
    )
    return [[list(islice(stream, window_events)) for _ in range(windows)] for _ in range(rounds)]


async def size_section(
    place: Place,
    *,
    seed: int = 1,
    sizes: Sequence[int] = SIZES,
    rounds: int = 5,
    windows: int = 2,
    window_events: int | None = None,
) -> Section:
    """What an event costs against the rows that are there: `sizes`, each of all tables together.

    Every round gives each size one window to warm up, and then `windows` of `window_events`
    (by default the setting's) that are measured.
    """
    sizes = sorted(sizes)
    window_events = window_events or place.settings.window_events_max
    measure = Sizes(
        place, sizes, seed=seed, rounds=rounds, windows=windows, window_events=window_events
    )
    async with measure.place.fresh() as database:
        measured = await measure.measure(database)
    least = measured[sizes[0]]
    rows = [
        (
            f"{each.about['rows_at_first']:,}",
            f"{each.about['rows_at_last']:,}",
            f"{each.about['bytes_at_first'] / 2**20:,.0f}",
            *each.cells(least),
        )
        for each in measured.values()
    ]
    return Section(
        f"Cost of an event against data size, windows of {window_events:,} events",
        ("rows at first", "at last", "MiB at first", *HEADS),
        rows,
        [_ratio(measured, "rows")],
        {"sizes": {str(n): each.figures(least) for n, each in measured.items()}},
    )


def _ratio(measured: Mapping[int, Cost], what: str) -> str:
    least, most = min(measured), max(measured)
    ratio = measured[most].micros().over(measured[least].micros())
    cpu = _cpu(measured[most]).over(_cpu(measured[least]))
    return (
        f"event with {most:,} {what} / with {least:,}: {ratio.text('.2f')} ({ratio.span('.2f')}), "
        f"of CPU {cpu.text('.2f')} ({cpu.span('.2f')})"
    )


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
    measured = {n: Cost(events // n * n, about={"projections": n}) for n in numbers}
    await _daemon(place, copies[1] if 1 in copies else copies[numbers[0]], history[:20_000], [])
    for _ in range(rounds):
        for n in rng.sample(numbers, len(numbers)):
            await _daemon(place, copies[n], history[: events // n], measured[n].usages)
    least = measured[numbers[0]]
    return Section(
        f"Cost of an applied event against the number of projections, {events:,} events",
        ("projections", *HEADS),
        [(f"{n}", *each.cells(least)) for n, each in measured.items()],
        [_ratio(measured, "projections")],
        {"numbers": {str(n): each.figures(least) for n, each in measured.items()}},
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
