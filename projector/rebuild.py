"""Rebuild: projections and aggregates built from the log beside the live ones, then swapped in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.log import read_head
from projector import bulk, compare, ordered, shadow, shadow_counts, swap
from projector.aggregate import AUDIT_SECONDS_MAX
from projector.building import Building, Show, Site, analysing, build_all
from projector.database import Database, close_quietly, one_line
from projector.declare import AccountProjection, Declaration, Fed, Projection
from projector.errors import CannotConnect, SchemaMismatch
from projector.follower import Followed, Follower
from projector.groups import Group
from projector.home import Home
from projector.lease import LeaseKeeper
from projector.projectors import AggregateProjector
from projector.reader import LogReader
from projector.rebuilding import Options, Outcome
from projector.schema import FOREIGN_VERSION
from projector.settings import Settings, cores
from projector.statements import live

log = logging.getLogger(__name__)

NEAR_EVENTS: Final = 1_000
"""How far behind the live one a shadow may be when the live one is made to wait for it."""
LOCK_WAIT: Final = "SET LOCAL lock_timeout = '300ms'"
SWAP_ATTEMPTS: Final = 100
DIFFERENCES_MAX: Final = 1_000

LIVE: Final = "SELECT log_offset, version FROM projector.checkpoint WHERE projection = $1"
BLOCKERS: Final = """
SELECT string_agg(DISTINCT pid || ' ' || application_name, ', ') FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND xact_start < now() - interval '1 s'
"""


class Rebuild:
    """One rebuild: of projections, and of every aggregate that counts their rows."""

    def __init__(
        self,
        database: Database,
        declarations: Sequence[Declaration],
        settings: Settings,
        *,
        names: Sequence[str],
        options: Options,
        show: Show,
    ) -> None:
        self.database = replace(database, command_timeout_seconds=AUDIT_SECONDS_MAX)
        self.settings = settings
        self.options = options
        self.show = show
        chosen = [d for d in declarations if d.name in names]
        self.projections = [d for d in chosen if isinstance(d, Projection)]
        self.accounts = [d for d in chosen if isinstance(d, AccountProjection)]
        self.tables: list[Projection | AccountProjection] = [*self.projections, *self.accounts]
        rebuilt = {p.name for p in self.projections}
        self.aggregates = [
            d for d in declarations
            if isinstance(d, Fed)
            and (d.name in names or rebuilt & {c.of.name for c in d.counters.values()})
        ]  # fmt: skip
        self.everything: list[Declaration] = [*self.tables, *self.aggregates]
        self.groups = ordered.groups_to_build(declarations, names)
        grouped = [member for group in self.groups for member in group.members]
        self.scratch = [member for member in grouped if member.name not in rebuilt]
        self.single = [p for p in self.projections if p not in grouped]
        self.outcome = Outcome([d.name for d in self.everything])
        self.site = Site.of(self.database, settings, options.jobs, show)
        self.reader = LogReader(
            database,
            [c for p in (*self.tables, *self.scratch) for c in p.collections],
            block_events=settings.window_events_max,
            bytes_max=settings.reader_bytes_max,
        )
        self.follower = Follower(self.site, self.reader)
        self._versions: dict[str, int | None] = {}

    async def run(self) -> Outcome:
        """Builds, compares, swaps. What a killed one left is gone on with, or removed.

        Raises `HeldByAnother` where another rebuild of the same is under way, and `CannotConnect`
        where somebody's transaction keeps the tables locked for too long.
        """
        begun = time.monotonic()
        keeper = LeaseKeeper(self.database, lease_seconds=self.settings.lease_seconds)
        async with shadow.leases(keeper, self._leases()):
            connection = await self.database.connect("rebuild")
            try:
                await bulk.prepare(connection, cores(self.settings) - 1)
                await self._prepare(connection)
                buildings = await self._build_projections()
                async with analysing(buildings):
                    await self._build_aggregates(connection)
                    async with self._merging():
                        await self._compare(connection)
                if self.options.dry_run:
                    await self._drop(connection, shadow.GREEN)
                else:
                    await self._swap(connection)
                    await self._drop_scratch(connection)
            finally:
                await close_quietly(connection)
                await self.reader.close()
                await self.site.considerate.close()
        self.outcome.seconds = time.monotonic() - begun
        return self.outcome

    async def abandon(self) -> None:
        """Removes what an unfinished rebuild left, and the old tables that one kept.

        Raises `HeldByAnother` where it is under way.
        """
        keeper = LeaseKeeper(self.database, lease_seconds=self.settings.lease_seconds)
        async with shadow.leases(keeper, self._leases()):
            connection = await self.database.connect("rebuild abandon")
            try:
                await self._drop(connection, shadow.GREEN)
                await self._drop(connection, shadow.OLD)
            finally:
                await close_quietly(connection)

    def _leases(self) -> list[str]:
        return sorted(f"rebuild {d.name}" for d in (*self.everything, *self.scratch))

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        """Finds or makes the shadows; what a swap before this one left behind goes."""
        await swap.check_dependents(connection, self.everything, self.settings.schema)
        await self._drop(connection, shadow.OLD)
        through = {}
        every: list[Declaration] = [*self.everything, *self.scratch]
        for declaration in every:
            row = await connection.fetchrow(LIVE, declaration.name)
            if row is None and not isinstance(declaration, Fed):
                raise SchemaMismatch(
                    f"{declaration.name} is not in the database yet; run: projector init"
                )
            self._versions[declaration.name] = None if row is None else row["version"]
            through[declaration.name] = row["log_offset"] if row else 0
        head = await read_head(connection)
        for group in self.groups:
            made = await ordered.prepare(
                connection, group, shadow.home_of, lambda p: through[p.name] or head,
                self._is_usable,
            )  # fmt: skip
            for projection in made:
                for index in await self._extra_indexes(projection, connection):
                    await connection.execute(index)
        alone: list[Declaration] = [*self.single, *self.accounts, *self.aggregates]
        for declaration in alone:
            home = shadow.home_of(declaration)
            build = await shadow.find(connection, home)
            if build is not None and not self._is_usable(declaration, build):
                await shadow.drop(connection, home)
                build = None
            if build is None:
                await shadow.drop(connection, home)
                # A table of accounts is small, and has its indexes from the start.
                bare = not isinstance(declaration, AccountProjection)
                noted = through[declaration.name] or head
                await shadow.create(connection, declaration, home, noted, bare=bare)

    def _is_usable(self, declaration: Declaration, build: shadow.Build) -> bool:
        same = shadow.fingerprint(declaration) == build.fingerprint
        if isinstance(declaration, Fed) and self.projections:
            return False  # It may be fed by shadows that are no more.
        return same and build.version == declaration.version and not self.options.restart

    async def _drop(self, connection: asyncpg.Connection, kind: str) -> None:
        for declaration in self.everything:
            await shadow.drop(connection, shadow.home_of(declaration, kind))
        if kind == shadow.GREEN:
            await self._drop_scratch(connection)

    async def _drop_scratch(self, connection: asyncpg.Connection) -> None:
        for projection in self.scratch:
            await shadow.drop(connection, shadow.home_of(projection))

    async def _build_projections(self) -> list[Building]:
        buildings = [
            Building(p, shadow.home_of(p), self.site, partial(self._extra_indexes, p))
            for p in self.single
        ]
        work = [
            *(asyncio.create_task(self.follower.build_group(group)) for group in self.groups),
            *(asyncio.create_task(self.follower.build_accounts(a)) for a in self.accounts),
        ]
        try:
            self.outcome.events += await build_all(buildings, self.site)
            self.outcome.events += sum(await asyncio.gather(*work))
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)
        return buildings

    async def _extra_indexes(
        self, projection: Projection, connection: asyncpg.Connection
    ) -> list[str]:
        home = shadow.home_of(projection)
        return await swap.extra_indexes(connection, projection, self.settings.schema, home)

    async def _build_aggregates(self, connection: asyncpg.Connection) -> None:
        shadows = [p.name for p in self.projections]
        work = []
        for aggregate in self.aggregates:
            home = shadow.home_of(aggregate)
            build = await shadow.find(connection, home)
            if build is None or build.phase != shadow.CATCH_UP:
                await shadow_counts.feed(connection, aggregate, home, shadows)
                work.append(asyncio.create_task(self._count(aggregate)))
        try:
            await asyncio.gather(*work)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    def _home(self, projection: Projection) -> Home:
        """Where a projection's rows are that what is built counts: in its shadow, if it has one."""
        if projection in self.projections:
            return shadow.home_of(projection)
        return live(projection, self.settings.schema)

    async def _count(self, aggregate: Fed) -> None:
        """Counts an aggregate, as many side by side as there are processors for."""
        bases = {name: self._home(c.of).counted(c) for name, c in aggregate.counters.items()}
        async with self.site.indexing.turn(len(aggregate.counters)):
            self.show(aggregate.name, "count", 0, 1)
            connection = await self.database.connect(f"rebuild {aggregate.name}")
            try:
                await bulk.prepare(connection, 0)
                await shadow_counts.count(connection, aggregate, shadow.home_of(aggregate), bases)
            finally:
                await close_quietly(connection)
        self.show(aggregate.name, "count", 1, 1)

    @asynccontextmanager
    async def _merging(self) -> AsyncIterator[None]:
        """Meanwhile the deltas of the aggregates' shadows are merged, so that few wait."""
        stop = asyncio.Event()
        mergers = [
            AggregateProjector(
                aggregate, self.database, home=shadow.home_of(aggregate),
                poll_seconds=self.settings.poll_seconds,
                outbox_rows_max=self.settings.outbox_rows_max, homes=self._home,
            )
            for aggregate in self.aggregates
        ]  # fmt: skip
        tasks = [asyncio.create_task(merger.run(stop)) for merger in mergers]
        try:
            yield
        finally:
            stop.set()
            for merger in mergers:
                merger.wake()
            await asyncio.gather(*tasks)

    async def _approach(self, connection: asyncpg.Connection) -> None:
        """Brings every shadow near to the live one, or to the head where nothing is live yet."""
        every: list[Followed] = [*self.single, *self.accounts, *self.groups]
        for what in every:
            projection = what.judged if isinstance(what, Group) else what
            while True:
                at = await shadow.checkpoint_of(connection, shadow.home_of(projection))
                row = await connection.fetchrow(LIVE, projection.name)
                goal = (row["log_offset"] if row else 0) or await read_head(connection)
                self.show(projection.name, "catch up", at, goal)
                if goal - at <= NEAR_EVENTS:
                    break
                await self.follower.follow(what, goal)

    async def _meet(self, connection: asyncpg.Connection) -> dict[str, int]:
        """Holds what is live where it is, and brings the shadows there; within a transaction.

        Returns the offsets of those where both are at the same now.
        """
        fed = {c.of.name for a in self.aggregates for c in a.counters.values()}
        concerned = [*fed, *(p.name for p in (*self.tables, *self.scratch))]
        held = await shadow.lock(connection, concerned)
        met = {}
        # A group goes to where the foremost of its live ones is: there all of them can meet it.
        goals = [(g, max(held.get(name, 0) for name in g.names)) for g in self.groups]
        await asyncio.gather(
            *(self.follower.follow(p, held.get(p.name, 0)) for p in self.single),
            *(self.follower.follow(a, held.get(a.name, 0)) for a in self.accounts),
            *(self.follower.follow(group, goal) for group, goal in goals),
        )
        for projection in self.tables:
            offset = held.get(projection.name, 0)
            if await shadow.checkpoint_of(connection, shadow.home_of(projection)) == offset:
                met[projection.name] = offset
        return met

    async def _compare(self, connection: asyncpg.Connection) -> None:
        await self._approach(connection)
        reading = await self.database.connect("rebuild compare", work_mem="128MB")
        try:
            await bulk.prepare(reading, cores(self.settings) - 1)
            snapshot = reading.transaction(isolation="repeatable_read", readonly=True)
            async with connection.transaction():
                met = await self._meet(connection)
                await snapshot.start()
                await reading.fetchval("SELECT 1 FROM projector.log_head")
            await self._compare_all(reading, met)
            await snapshot.rollback()
        finally:
            await close_quietly(reading)
        crash_point("rebuild.compared")  # Recovery: it catches up and compares again.

    async def _compare_all(self, reading: asyncpg.Connection, met: dict[str, int]) -> None:
        found, schema = self.outcome.comparison, self.settings.schema
        for d in self.tables:
            version = self._versions[d.name]
            if d.name not in met or version is None:
                continue
            self.show(d.name, "compare", 0, 1)
            n, differing = await compare.compare_tables(
                reading, d, version, met[d.name], (live(d, schema), shadow.home_of(d)),
                differences_max=DIFFERENCES_MAX,
            )  # fmt: skip
            found.rows += n
            found.row_differences += differing
            self._compared(d.name)
        rebuilt = {p.name for p in self.projections}
        for a in self.aggregates:
            counted = {c.of.name for c in a.counters.values()} & rebuilt
            if self._versions[a.name] is None or not counted <= met.keys():
                continue
            self.show(a.name, "compare", 0, 1)
            n, counts = await compare.compare_fed(
                reading, a, live(a, schema), shadow.home_of(a), DIFFERENCES_MAX
            )
            found.counts += n
            found.count_differences += counts
            self._compared(a.name)

    def _compared(self, name: str) -> None:
        self.outcome.compared.append(name)
        self.show(name, "compare", 1, 1)

    async def _swap(self, connection: asyncpg.Connection) -> None:
        for attempt in range(1, SWAP_ATTEMPTS + 1):
            async with self._merging():
                await self._approach(connection)
            try:
                async with connection.transaction():
                    await self._meet(connection)
                    await connection.execute(LOCK_WAIT)
                    await self._swap_all(connection)
                    crash_point("rebuild.swapping")  # Recovery: nothing of it has happened.
                break
            except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
                who = await connection.fetchval(BLOCKERS)
                log.info("swap: %s (held by %s); again", one_line(error), who or "nobody now")
                await asyncio.sleep(min(0.05 * attempt, 2.0))
        else:
            raise CannotConnect(
                f"the tables are locked by others ({await connection.fetchval(BLOCKERS)}); end "
                "those transactions, then run the same command: it goes on where it was"
            )
        self.outcome.swapped = True
        crash_point("rebuild.swapped")  # Recovery: the next rebuild removes the old tables.
        # In one transaction: each waits for the disk.
        async with connection.transaction():
            for declaration in self.everything:
                if isinstance(declaration, Fed) or not self._keeps_old(declaration):
                    await shadow.drop(connection, shadow.home_of(declaration, shadow.OLD))

    def _keeps_old(self, projection: Projection | AccountProjection) -> bool:
        """Whether the old tables stay: what another indexer wrote the log may not have."""
        return self.options.keep_old or self._versions[projection.name] == FOREIGN_VERSION

    async def _swap_all(self, connection: asyncpg.Connection) -> None:
        schema = self.settings.schema
        await swap.lock_live(connection, self.everything, schema)
        for projection in self.projections:
            keep_old = self._keeps_old(projection)
            await swap.swap_projection(connection, projection, schema, keep_old=keep_old)
        for accounts in self.accounts:
            keep_old = self._keeps_old(accounts)
            await swap.swap_accounts(connection, accounts, schema, keep_old=keep_old)
        shadows = [p.name for p in self.projections]
        for aggregate in self.aggregates:
            await swap.swap_aggregate(connection, aggregate, schema, shadows)
