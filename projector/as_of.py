"""As of: tables as they were at an offset, in a schema of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.log import read_head
from projector import bulk, ordered, schema, shadow, shadow_counts
from projector.aggregate import AUDIT_SECONDS_MAX
from projector.building import Building, Show, Site, analysing, build_all
from projector.database import Database, close_quietly
from projector.declare import Count, Declaration, Fed, Projection
from projector.errors import UsageError
from projector.home import Home, quoted
from projector.lease import LeaseKeeper
from projector.reader import LogReader
from projector.settings import Settings, cores
from projector.shadow import leases

AS_OF: Final = "asof"
"""The kind of shadow that such tables are built as, before they are moved to where they go."""

EXISTS: Final = "SELECT 1 FROM pg_namespace WHERE nspname = $1"
HAS: Final = "SELECT to_regclass($1) IS NOT NULL"


def _home_of_counted(count: Count, target: Home) -> Home:
    """Where the rows that are counted are: the engine's own tables do not move."""
    stays = count.child is not None and count.of.child(count.child).hidden
    return home_of(count.of) if stays else target


def home_of(projection: Projection) -> Home:
    """Where a projection is built, before it is moved."""
    return shadow.home_of(projection, AS_OF)


class AsOf:
    """Builds projections, and the aggregates over them alone, as of one offset."""

    def __init__(
        self,
        database: Database,
        declarations: Sequence[Declaration],
        settings: Settings,
        *,
        names: Sequence[str],
        into: str,
        show: Show,
    ) -> None:
        self.database = replace(database, command_timeout_seconds=AUDIT_SECONDS_MAX)
        self.settings = settings
        self.into = into
        self.show = show
        self.aggregates = [d for d in declarations if isinstance(d, Fed) and d.name in names]
        counted = {c.of.name for a in self.aggregates for c in a.counters.values()}
        self.projections = [
            d for d in declarations
            if isinstance(d, Projection) and (d.name in names or d.name in counted)
        ]  # fmt: skip
        wanted = {p.name for p in self.projections}
        self.groups = ordered.groups_to_build(declarations, wanted)
        self.grouped = [member for group in self.groups for member in group.members]
        self.scratch = [member for member in self.grouped if member.name not in wanted]
        everything: list[Declaration] = [*self.projections, *self.aggregates]
        self.names = [declaration.name for declaration in everything]

    async def run(self, offset: int) -> int:
        """Builds the tables as they were when all events up to `offset` were applied.

        Returns how many events that took. Killed, the same call goes on where it was. Raises
        `UsageError` where the schema exists or the log does not go so far, and `HeldByAnother`.
        """
        keeper = LeaseKeeper(self.database, lease_seconds=self.settings.lease_seconds)
        names = sorted(f"as-of {p.name}" for p in (*self.projections, *self.scratch))
        async with leases(keeper, names):
            connection = await self.database.connect("as-of")
            try:
                await bulk.prepare(connection, cores(self.settings) - 1)
                await self._prepare(connection, offset)
                events = await self._build()
                await self._move(connection)
            finally:
                await close_quietly(connection)
        return events

    async def _prepare(self, connection: asyncpg.Connection, offset: int) -> None:
        if await connection.fetchval(EXISTS, self.into):
            raise UsageError(
                f"the schema {self.into} exists already; name another --into, or drop that one"
            )
        head = await read_head(connection)
        if not 0 <= offset <= head:
            raise UsageError(f"offset {offset} is not in the log, which goes from 1 to {head}")

        def is_usable(projection: Projection, build: shadow.Build) -> bool:
            begun = (build.through_offset, build.fingerprint)
            return begun == (offset, shadow.fingerprint(projection))

        for group in self.groups:
            await ordered.prepare(connection, group, home_of, lambda _: offset, is_usable)
        for projection in self._single():
            home = home_of(projection)
            build = await shadow.find(connection, home)
            if build is None or not is_usable(projection, build):
                await shadow.drop(connection, home)
                await shadow.create(connection, projection, home, offset)

    def _single(self) -> list[Projection]:
        return [p for p in self.projections if p not in self.grouped]

    async def _build(self) -> int:
        site = Site.of(self.database, self.settings, max(len(self.projections), 1), self.show)
        buildings = [Building(p, home_of(p), site) for p in self._single()]
        collections = [c for member in self.grouped for c in member.collections]
        reader = LogReader(
            self.database, collections, block_events=self.settings.window_events_max,
            bytes_max=self.settings.reader_bytes_max,
        )  # fmt: skip
        try:
            events = await build_all(buildings, site)
            async with analysing(buildings):
                for group in self.groups:
                    events += await ordered.build(group, home_of, site, reader)
            return events
        finally:
            await reader.close()
            await site.considerate.close()

    async def _move(self, connection: asyncpg.Connection) -> None:
        """Moves the tables to their schema, and counts, in one transaction."""
        target = Home("", self.into)
        async with connection.transaction():
            await connection.execute(f"CREATE SCHEMA {quoted(self.into)}")
            for projection in self.projections:
                await self._move_projection(connection, projection, target)
            for aggregate in self.aggregates:
                for statement in schema.tables_ddl(aggregate, target):
                    await connection.execute(statement)
                bases = {
                    name: _home_of_counted(c, target).counted(c)
                    for name, c in aggregate.counters.items()
                }
                into = f"{quoted(self.into)}.{quoted(aggregate.table)}"
                await connection.execute(shadow_counts.all_statement(aggregate, into, bases))
            crash_point("as-of.moving")  # Recovery: nothing of it has happened.
        crash_point("as-of.moved")  # Recovery: the next use drops what is left of the builds.
        for projection in (*self.projections, *self.scratch):
            await shadow.drop(connection, home_of(projection))

    async def _move_projection(
        self, connection: asyncpg.Connection, projection: Projection, target: Home
    ) -> None:
        table, home = projection.table, home_of(projection)
        own = {table.name}
        if table.unique and not await connection.fetchval(HAS, target.list(table)):
            own.add(table.duplicates)
        elif table.unique:
            await connection.execute(
                f"INSERT INTO {target.list(table)} SELECT * FROM {home.list(table)}"
            )
        hidden = (home.child(child) for child in projection.every_child if child.hidden)
        engine = {home.shelf(table), home.versions(projection), *hidden}
        for relation in await shadow.tables_in(connection, home):
            name = f"{quoted(home.schema)}.{quoted(relation)}"
            if relation in own or (relation != table.duplicates and name not in engine):
                await connection.execute(f"ALTER TABLE {name} SET SCHEMA {quoted(self.into)}")
