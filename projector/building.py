"""Building: one projection's shadow, from the log's first event to where it follows the head."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import asyncpg

from projector import bulk, busy, shadow
from projector.considerate import Considerate
from projector.database import (
    APPLY_SETTINGS,
    Database,
    close_quietly,
    is_data_error,
    one_line,
)
from projector.declare import Projection
from projector.home import Home
from projector.indexing import Indexing
from projector.loader import strands
from projector.loading import STRANDS, Loading
from projector.settings import Settings, cores
from projector.settle import Settler
from projector.tasks import first_failure
from projector.turns import Turns

log = logging.getLogger(__name__)

BUILT_MAX: Final = 8
"""How many are built at once. Each holds a connection all the while, and at times a second."""
UNKNOWN: Final = """
SELECT NOT EXISTS (
    SELECT FROM pg_stats AS s JOIN pg_class AS c ON c.relname = s.tablename
    JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = s.schemaname
    WHERE c.oid = $1::text::regclass)
"""
SIZE: Final = "SELECT pg_relation_size($1::text::regclass)"

Show = Callable[[str, str, int, int], None]
"""Told of a declaration's name, what it is at, and how far that is of how much, in offsets."""


@dataclass(frozen=True, slots=True)
class Site:
    """What those share that build side by side.

    `jobs` bounds how many are loaded at once, `indexing` how many sort or make indexes at once.
    """

    database: Database
    settings: Settings
    considerate: Considerate
    jobs: int
    indexing: Turns
    show: Show

    @classmethod
    def of(cls, database: Database, settings: Settings, jobs: int, show: Show) -> Site:
        """The usual one; its `considerate` is to be closed."""
        turns = Turns(cores(settings))
        return cls(database, settings, Considerate(database, settings), jobs, turns, show)


class Building:
    """The building of one projection's shadow, once the log is loaded into it."""

    def __init__(
        self,
        projection: Projection,
        home: Home,
        site: Site,
        extra_indexes: Callable[[asyncpg.Connection], Awaitable[list[str]]] | None = None,
    ) -> None:
        self.projection = projection
        self.home = home
        self.site = site
        self.bytes = 0
        self._extra_indexes = extra_indexes

    async def run(self) -> None:
        """Builds until the shadow follows the log's head."""
        # Waited for before all else: the largest, which begin first, then have the first places.
        async with self.site.indexing.turn(self.bytes):
            connection = await self._connect("")
            try:
                build = await found(connection, self.home)
                if build.phase == shadow.LOAD:
                    self._say("sort", 0, 1)
                    await self._take_out_busy(connection)
                    build = await found(connection, self.home)
            except BaseException:
                await close_quietly(connection)
                raise
        try:
            if build.phase == shadow.KEYS:
                await self._keys_or_slowly(connection, build)
        finally:
            await close_quietly(connection)

    async def _connect(self, what: str) -> asyncpg.Connection:
        name = f"rebuild {self.projection.name} {what}".rstrip()
        connection = await self.site.database.connect(name)
        await bulk.prepare(connection, 0)
        return connection

    def _say(self, what: str, done: int, total: int) -> None:
        self.site.show(self.projection.name, what, done, total)

    async def _take_out_busy(self, connection: asyncpg.Connection) -> None:
        beside = await self._connect("rivals")
        memory = self.site.settings.rebuild_memory_mib
        try:
            await busy.take_out_busy(connection, beside, self.projection, self.home, memory)
        finally:
            await close_quietly(beside)

    async def _keys_or_slowly(self, connection: asyncpg.Connection, build: shadow.Build) -> None:
        try:
            await self._keys(connection, build)
        except asyncpg.PostgresError as error:
            if not is_data_error(error):
                raise
            log.warning(
                "%s: %s; built window by window instead, with its indexes in place",
                self.projection.name, one_line(error),
            )  # fmt: skip
            await shadow.drop(connection, self.home)
            await shadow.create(
                connection, self.projection, self.home, build.through_offset, bare=False
            )

    async def _keys(self, connection: asyncpg.Connection, build: shadow.Build) -> None:
        self._say("index", 0, 1)
        indexing = Indexing(
            partial(self._connect, "index"), partial(self.site.indexing.turn, self.bytes),
            self.site.settings.rebuild_memory_mib,
        )  # fmt: skip
        await indexing.run(connection, self.home)
        if self._extra_indexes is not None:
            await indexing.make(await self._extra_indexes(connection), self.home)
        await self._settle(connection, build)
        await bulk.finish(connection, self.projection, self.home)
        self._say("index", 1, 1)

    async def analyse(self) -> None:
        """Tells the planner of the rows, unless it was told; whoever has a turn to wait for first.

        Nobody but the build reads them yet, and it does without.
        """
        async with self.site.indexing.turn():
            connection = await self._connect("analyse")
            try:
                for table in self.home.tables(self.projection):
                    if await connection.fetchval(UNKNOWN, table):
                        await connection.execute(f"ANALYZE {table}")
            finally:
                await close_quietly(connection)

    async def _settle(self, connection: asyncpg.Connection, build: shadow.Build) -> None:
        loader = bulk.BulkLoader(self.projection, self.home)
        await loader.open(connection)
        writing = await self.site.database.connect(
            f"rebuild {self.projection.name} keys", **APPLY_SETTINGS
        )
        try:
            settler = Settler(self.projection, self.home, loader.refused)
            begun = time.monotonic()
            async for through in settler.settle(connection, writing, build):
                self._say("keys", through, build.through_offset)
                await self.site.considerate.rest(time.monotonic() - begun)
                begun = time.monotonic()
        finally:
            await close_quietly(writing)


async def found(connection: asyncpg.Connection, home: Home) -> shadow.Build:
    """How far a shadow is built that is known to be there."""
    build = await shadow.find(connection, home)
    assert build is not None
    return build


@asynccontextmanager
async def analysing(buildings: Sequence[Building]) -> AsyncIterator[None]:
    """Meanwhile the planner is told of what was built; at the end it has been."""
    work = [asyncio.create_task(building.analyse()) for building in buildings]
    try:
        yield
        await asyncio.gather(*work)
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)


async def build_all(buildings: Sequence[Building], site: Site) -> int:
    """Loads, then builds side by side; the first failure ends all. Returns how many events were
    loaded."""
    events = 0
    for first in range(0, len(buildings), site.jobs):
        events += await _load(buildings[first : first + site.jobs], site)
    # The largest first: what it has to wait for itself, others fill.
    order = sorted(buildings, key=lambda building: -building.bytes)
    places = Turns(BUILT_MAX)

    async def built(building: Building) -> None:
        async with places.turn(building.bytes):
            await building.run()

    work = [asyncio.create_task(built(b), name=b.projection.name) for b in order]
    try:
        await first_failure(work, [])
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    return events


async def _load(buildings: Sequence[Building], site: Site) -> int:
    connection = await site.database.connect("rebuild loads")
    try:
        builds = {}
        for b in buildings:
            build = await found(connection, b.home)
            if build.phase == shadow.LOAD:
                builds[b.projection.name] = (b.home, build.through_offset)
        loaded = await _load_into(connection, builds, buildings, site) if builds else 0
        for b in buildings:
            b.bytes = await connection.fetchval(SIZE, b.home.base(b.projection.table))
        return loaded
    finally:
        await close_quietly(connection)


async def _load_into(
    connection: asyncpg.Connection,
    builds: Mapping[str, tuple[Home, int]],
    buildings: Sequence[Building],
    site: Site,
) -> int:
    targets = {
        b.projection.name: (b.projection, b.home) for b in buildings if b.projection.name in builds
    }
    offsets = max(through for _, through in builds.values())
    async with strands(site.database, site.settings, targets, offsets) as places:
        loading = Loading(
            places, site.considerate, max(site.settings.window_events_max // STRANDS, 1),
            lambda name, done, total: site.show(name, "load", done, total),
        )  # fmt: skip
        await loading.run(connection, builds)
    return loading.events
