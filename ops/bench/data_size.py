"""What an event costs against how much is there already, beside a plain COPY into the same tables.

Tables of several sizes lie in one database, planted by `ops.bench.plant`, with everything that the
engine keeps beside them. Each is a copy of all declarations, and all are given the same turns,
which do the same to each, since none of their keys was planted. A turn, after a vacuum and an
analysis, so that none has to pay for an autovacuum that another called for:

- a window to warm up, then, after a checkpoint, windows through the engine: `rows` into the tables,
  then their `counters`; and the same `again` by neighbours of the accounts (`ops.bench.turns`);
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
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
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
from projector.declare import Aggregate, Projection
from projector.statements import quoted

SIZES: Final = (10_000, 100_000, 1_000_000)
ACCOUNTS: Final = 1_000_000

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
    """What one size took, turn by turn, by kind of work; and how large it is."""

    events: int
    measured: dict[Work, Measured] = field(default_factory=dict)
    touched: dict[Work, list[Touched]] = field(default_factory=lambda: defaultdict(list))
    rows: list[int] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)

    def of(self, work: Work) -> Measured:
        """The rounds of one kind of work."""
        return self.measured.setdefault(work, Measured(self.events))


class Sizes:
    """Measures tables of several sizes, in one database."""

    def __init__(
        self, place: Place, sizes: Sequence[int], *, seed: int, windows: int, window_events: int
    ) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.copies = {size: copies_of(place.declarations, f"_{size}") for size in sizes}
        declared = [d for copies in self.copies.values() for d in copies]
        self.place = replace(place, declarations=declared)
        self.engines = {size: Engine(c, place.settings) for size, c in self.copies.items()}
        self.costs = {size: Cost(windows * window_events) for size in sizes}
        self.connections: dict[int, asyncpg.Connection] = {}
        projections = [d for d in place.declarations if isinstance(d, Projection)]
        self.turns = Turns(
            projections, seed, ACCOUNTS, windows=windows, window_events=window_events
        )

    async def measure(self, database: Database, rounds: int) -> dict[int, Cost]:
        """Plants all sizes, then gives each its turns in every round."""
        followed = accounts_followed(self.seed, ACCOUNTS)
        for size, copies in self.copies.items():
            say(f"planting {size:,} rows")
            await plant(database, copies, self.place.settings.schema, size, followed)
        async with AsyncExitStack() as stack:
            for size in self.copies:  # As many connections, so that none forgets its statements.
                connection = await database.connect("data size", **APPLY_SETTINGS)
                stack.push_async_callback(connection.close)
                self.connections[size] = connection
                for table in await self._tables(size):
                    await connection.execute(NO_AUTOVACUUM % table["name"])
                await self._weigh(size)
            await self._rounds(rounds)
            for size in self.copies:
                await self._weigh(size)
        did = [engine.done for engine in self.engines.values()]
        assert did[0].inserted and all(done == did[0] for done in did), did
        await prove(self.place, database, 0)
        return self.costs

    async def _rounds(self, rounds: int) -> None:
        ours = self.place.postmaster is not None
        switch = next(iter(self.connections.values()))
        turns = iter(self.turns)
        try:
            for number in range(1, rounds + 1):
                say(f"sizes: round {number} of {rounds}")
                for whole_pages in self.rng.sample((True, False), 2) if ours else (True,):
                    if ours:
                        await _set(switch, WHOLE_PAGES % ("on" if whole_pages else "off"))
                    turn = next(turns)
                    for size in self.rng.sample(list(self.copies), len(self.copies)):
                        await self._turn(size, turn, whole_pages, floor_first=number % 2 == 0)
        finally:
            if ours:
                await _set(switch, WHOLE_PAGES_AS_EVER)

    async def _turn(self, size: int, turn: Turn, whole_pages: bool, *, floor_first: bool) -> None:
        connection, engine = self.connections[size], self.engines[size]
        names = ", ".join([table["name"] for table in await self._tables(size)])
        await connection.execute(f"VACUUM (ANALYZE) {names}")
        await engine.apply(connection, turn.warm)
        parts = [self._engine_turn, self._floor_turn]
        for part in reversed(parts) if floor_first else parts:
            await checkpoint(connection)
            await part(size, turn, whole_pages)

    async def _engine_turn(self, size: int, turn: Turn, whole_pages: bool) -> None:
        connection, engine = self.connections[size], self.engines[size]
        for again, windows in enumerate((turn.windows, turn.again)):
            async with self._metered(size, Work("rows", bool(again), whole_pages)):
                for events in windows:
                    await engine.write(connection, events)
            async with self._metered(size, Work("counters", bool(again), whole_pages)):
                await engine.merge(connection)

    async def _floor_turn(self, size: int, turn: Turn, whole_pages: bool) -> None:
        for again, windows in enumerate((turn.floor, turn.floor_again)):
            async with self._metered(size, Work("floor", bool(again), whole_pages)):
                for rows in windows:
                    await self._load(size, rows)
        for rows in (*turn.floor, *turn.floor_again):
            await self._count(size, rows)
        await self.engines[size].merge(self.connections[size])

    @asynccontextmanager
    async def _metered(self, size: int, work: Work) -> AsyncIterator[None]:
        cost, local = self.costs[size], self.place.postmaster is not None
        async with touching(self.connections[size], cost.touched[work], local=local):
            with self.place.metered(cost.of(work).usages):
                yield

    async def _load(self, size: int, rows: Rows) -> None:
        for projection in self._projections(size):
            await self.connections[size].copy_records_to_table(
                projection.table.name,
                schema_name=self.place.settings.schema,
                columns=projection.table.columns,
                records=rows[projection.collection],
            )

    async def _count(self, size: int, rows: Rows) -> None:
        """Hands the outbox what rows loaded by COPY count."""
        for aggregate in self.copies[size]:
            if not isinstance(aggregate, Aggregate):
                continue
            for name, count in aggregate.counters.items():
                at = count.of.table.columns.index(count.by)
                keys = [row[at] for row in rows[count.of.collection] if row[at] is not None]
                offset = self.engines[size].offset
                await self.connections[size].execute(
                    COUNT, aggregate.name, name, count.of.name, offset, keys
                )

    def _projections(self, size: int) -> list[Projection]:
        return [d for d in self.copies[size] if isinstance(d, Projection)]

    async def _tables(self, size: int) -> list[asyncpg.Record]:
        schema = quoted(self.place.settings.schema)
        return await self.connections[size].fetch(TABLES, str(size), schema)

    async def _weigh(self, size: int) -> None:
        schema, cost = quoted(self.place.settings.schema), self.costs[size]
        names = [f"{schema}.{quoted(p.table.name)}" for p in self._projections(size)]
        counts = [f"(SELECT count(*) FROM {name})" for name in names]
        rows = await self.connections[size].fetchval(f"SELECT {' + '.join(counts)}", timeout=3600)
        cost.rows.append(int(rows))
        cost.bytes.append(sum(table["bytes"] for table in await self._tables(size)))


async def _set(connection: asyncpg.Connection, statement: str) -> None:
    """Changes a setting of the server; the checkpoint that follows is made by the new one."""
    await connection.execute(statement)
    await connection.execute(RELOAD)
