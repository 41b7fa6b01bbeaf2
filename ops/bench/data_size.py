"""What an event costs against how much is there already, beside a plain COPY into the same tables.

Tables of several sizes lie in one database, planted by `ops.bench.plant`, with everything that the
engine keeps beside them. Each is a copy of all declarations, and all are given the same turns,
which do the same to each, since none of their keys was there. A small size has a copy for each
turn, since a turn makes tens of thousands of rows; a large one has all its turns. A turn, after a
vacuum and an analysis, and a small window to warm up:

- after a checkpoint, windows through the engine: `rows` into the tables, then their `counters`; and
  the same `again` by neighbours of the accounts (`ops.bench.turns`);
- after a checkpoint the `floor`: as many rows by COPY, sorted by key, and once more by neighbours.
  They are counted too, so that all stays exact, but not on this bill.

After a checkpoint the first change of each page writes all of it to the WAL, whoever makes it; the
larger the tables, the more pages. So on a server of our own every turn is made a second time with
`full_page_writes` off. What is done again finds its pages written, in Postgres's buffers and in the
process's page table: beside that, only the depth of indexes and the processor's caches are left.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import astuple, dataclass, field, replace
from typing import Final

import asyncpg

from ops.bench.copies import copies_of
from ops.bench.engine import Engine
from ops.bench.flow import prove
from ops.bench.place import Place
from ops.bench.plant import accounts_followed, checkpoint, plant
from ops.bench.report import say
from ops.bench.rounds import Measured
from ops.bench.touched import Touched, touching
from ops.bench.turns import Rows, Turn, Turns
from projector.database import APPLY_SETTINGS, Database
from projector.declare import Aggregate, Declaration, Projection
from projector.home import quoted

SIZES: Final = (10_000, 100_000, 1_000_000)
ACCOUNTS: Final = 1_000_000
ONE_TURN_ROWS: Final = 300_000
"""Up to this size a copy of the tables has one turn."""
WARM_EVENTS: Final = 2_000

TABLES: Final = """
SELECT c.oid::regclass::text AS name, pg_total_relation_size(c.oid) AS bytes FROM pg_class AS c
WHERE c.relkind = 'r' AND c.relname LIKE '%\\_' || $1
    AND c.relnamespace IN ($2::text::regnamespace, 'projector'::regnamespace)
"""
NO_AUTOVACUUM: Final = "ALTER TABLE %s SET (autovacuum_enabled = off)"
WHOLE_PAGES: Final = "ALTER SYSTEM SET full_page_writes = %s"
WHOLE_PAGES_AS_EVER: Final = "ALTER SYSTEM RESET full_page_writes"
RELOAD: Final = "SELECT pg_reload_conf()"
COUNT: Final = """
INSERT INTO projector.outbox (aggregate, counter, keys, deltas, projection, through_offset)
SELECT $1, $2, array_agg(k ORDER BY k), array_agg(n ORDER BY k), $3, $4
FROM (SELECT k, count(*)::integer AS n FROM unnest($5::text[]) AS k GROUP BY k) AS c
"""


@dataclass(frozen=True, order=True, slots=True)
class Work:
    """One kind of work: `what` is rows, counters or floor; again, or for the first time; with whole
    pages in the WAL, or without."""

    what: str
    again: bool = False
    whole_pages: bool = True


@dataclass(slots=True)
class Cost:
    """What one size took, turn by turn, by kind of work; and how large each of its copies was at
    first and is at last."""

    events: int
    measured: dict[Work, Measured] = field(default_factory=dict)
    touched: dict[Work, list[Touched]] = field(default_factory=lambda: defaultdict(list))
    rows: list[tuple[int, int]] = field(default_factory=list)
    bytes: list[tuple[int, int]] = field(default_factory=list)

    def of(self, work: Work) -> Measured:
        """The rounds of one kind of work."""
        return self.measured.setdefault(work, Measured(self.events))


@dataclass(slots=True)
class Copy:
    """A copy of all tables of one size, and what works on it. Autovacuum never does."""

    place: Place
    cost: Cost
    suffix: str
    declarations: Sequence[Declaration]
    engine: Engine
    connection: asyncpg.Connection

    @property
    def schema(self) -> str:
        """The projections' schema."""
        return self.place.settings.schema

    @property
    def projections(self) -> list[Projection]:
        """Those whose rows are loaded."""
        return [d for d in self.declarations if isinstance(d, Projection)]

    @asynccontextmanager
    async def metered(self, work: Work) -> AsyncIterator[None]:
        """Measures the body as a round of this work."""
        local = self.place.postmaster is not None
        async with touching(self.connection, self.cost.touched[work], local=local):
            with self.place.metered(self.cost.of(work).usages):
                yield

    async def tables(self) -> list[asyncpg.Record]:
        """Name and bytes of every table, the engine's among them."""
        return await self.connection.fetch(TABLES, self.suffix, quoted(self.schema))

    async def vacuum(self) -> None:
        """Vacuums and analyses all tables, and leaves them to nobody else."""
        tables = [table["name"] for table in await self.tables()]
        for table in tables:
            await self.connection.execute(NO_AUTOVACUUM % table)
        await self.connection.execute(f"VACUUM (ANALYZE) {', '.join(tables)}")

    async def weigh(self) -> tuple[int, int]:
        """Rows of the projections, bytes of everything."""
        names = [f"{quoted(self.schema)}.{quoted(p.table.name)}" for p in self.projections]
        counts = " + ".join(f"(SELECT count(*) FROM {name})" for name in names)
        rows = await self.connection.fetchval(f"SELECT {counts}", timeout=3600)
        return int(rows), sum(table["bytes"] for table in await self.tables())

    async def load(self, rows: Rows) -> None:
        """Loads a window's rows by COPY."""
        for projection in self.projections:
            await self.connection.copy_records_to_table(
                projection.table.name,
                schema_name=self.schema,
                columns=projection.table.columns,
                records=rows[projection.collection],
            )

    async def count(self, rows: Rows) -> None:
        """Hands the outbox what rows loaded by COPY count."""
        for aggregate in self.declarations:
            if not isinstance(aggregate, Aggregate):
                continue
            for name, count in aggregate.counters.items():
                if count.child:
                    continue  # The rows that are loaded have none in child tables.
                at = count.of.table.columns.index(count.by)
                keys = [row[at] for row in rows[count.of.collection] if row[at] is not None]
                await self.connection.execute(
                    COUNT, aggregate.name, name, count.of.name, self.engine.offset, keys
                )


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
        self.rounds = rounds
        self.rng = random.Random(seed)
        self.ways = (True, False) if place.postmaster is not None else (True,)
        turns = rounds * len(self.ways)
        self.copies = {
            size: [
                copies_of(place.declarations, f"_{size}_{number}")
                for number in range(turns if size <= ONE_TURN_ROWS else 1)
            ]
            for size in sizes
        }
        declared = [d for copies in self.copies.values() for copy in copies for d in copy]
        self.place = replace(place, declarations=declared)
        self.costs = {size: Cost(windows * window_events) for size in sizes}
        self.turns = Turns(
            [d for d in place.declarations if isinstance(d, Projection)],
            seed,
            ACCOUNTS,
            warm_events=WARM_EVENTS,
            windows=windows,
            window_events=window_events,
        )

    async def measure(self, database: Database) -> dict[int, Cost]:
        """Plants all sizes, then gives each its turns in every round."""
        followed = accounts_followed(self.seed, ACCOUNTS)
        schema = self.place.settings.schema
        for size, copies in self.copies.items():
            say(f"planting {size:,} rows{f', {len(copies)} times' if len(copies) > 1 else ''}")
            for declarations in copies:
                await plant(database, declarations, schema, size, followed)
        async with AsyncExitStack() as stack:
            copies = {
                size: [await self._copy(stack, database, size, number) for number in range(len(of))]
                for size, of in self.copies.items()
            }
            await self._rounds(copies)
            did = [_did(of) for of in copies.values()]
            assert all(did[0]) and all(each == did[0] for each in did), did
        await prove(self.place, database, 0)
        return self.costs

    async def _copy(
        self, stack: AsyncExitStack, database: Database, size: int, number: int
    ) -> Copy:
        connection = await database.connect("data size", **APPLY_SETTINGS)
        stack.push_async_callback(connection.close)
        declarations = self.copies[size][number]
        return Copy(
            self.place,
            self.costs[size],
            f"{size}_{number}",
            declarations,
            Engine(declarations, self.place.settings),
            connection,
        )

    async def _rounds(self, copies: Mapping[int, Sequence[Copy]]) -> None:
        weights = {copy.suffix: await copy.weigh() for of in copies.values() for copy in of}
        switch = copies[min(copies)][0].connection
        turns = enumerate(self.turns)
        try:
            for number in range(1, self.rounds + 1):
                say(f"sizes: round {number} of {self.rounds}")
                for whole_pages in self.rng.sample(self.ways, len(self.ways)):
                    if len(self.ways) > 1:
                        await _set(switch, WHOLE_PAGES % ("on" if whole_pages else "off"))
                    at, turn = next(turns)
                    for size in self.rng.sample(list(copies), len(copies)):
                        copy = copies[size][at % len(copies[size])]
                        await _turn(copy, turn, whole_pages, floor_first=number % 2 == 0)
        finally:
            if len(self.ways) > 1:
                await _set(switch, WHOLE_PAGES_AS_EVER)
        for of in copies.values():
            for copy in of:
                first, last = weights[copy.suffix], await copy.weigh()
                copy.cost.rows.append((first[0], last[0]))
                copy.cost.bytes.append((first[1], last[1]))


def _did(copies: Sequence[Copy]) -> list[int]:
    """Rows put in and taken out, and deltas merged, by all copies of a size."""
    return [sum(part) for part in zip(*(astuple(c.engine.done) for c in copies), strict=True)]


async def _set(connection: asyncpg.Connection, statement: str) -> None:
    """Changes a setting of the server; the checkpoint that follows is made by the new one."""
    await connection.execute(statement)
    await connection.execute(RELOAD)


async def _turn(copy: Copy, turn: Turn, whole_pages: bool, *, floor_first: bool) -> None:
    await copy.vacuum()
    await copy.engine.apply(copy.connection, turn.warm)
    parts = (_floor_part, _engine_part) if floor_first else (_engine_part, _floor_part)
    for part in parts:
        await checkpoint(copy.connection)
        await part(copy, turn, whole_pages)


async def _engine_part(copy: Copy, turn: Turn, whole_pages: bool) -> None:
    for again, windows in ((False, turn.windows), (True, turn.again)):
        async with copy.metered(Work("rows", again, whole_pages)):
            for events in windows:
                await copy.engine.write(copy.connection, events)
        async with copy.metered(Work("counters", again, whole_pages)):
            await copy.engine.merge(copy.connection)


async def _floor_part(copy: Copy, turn: Turn, whole_pages: bool) -> None:
    for again, windows in ((False, turn.floor), (True, turn.floor_again)):
        async with copy.metered(Work("floor", again, whole_pages)):
            for rows in windows:
                await copy.load(rows)
    for rows in (*turn.floor, *turn.floor_again):
        await copy.count(rows)
    await copy.engine.merge(copy.connection)
