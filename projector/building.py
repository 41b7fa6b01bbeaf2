"""Building: one projection's shadow, from the log's first event to where it follows the head."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import asyncpg

from projector import bulk, shadow
from projector.considerate import Considerate
from projector.daemon import first_failure
from projector.database import (
    APPLY_SETTINGS,
    Database,
    close_quietly,
    is_data_error,
    one_line,
)
from projector.declare import Projection
from projector.formation import Formation
from projector.home import Home
from projector.reader import LogReader
from projector.settings import Settings

log = logging.getLogger(__name__)

Show = Callable[[str, str, int, int], None]
"""Told of a declaration's name, what it is at, and how far that is of how much, in offsets."""


@dataclass(frozen=True, slots=True)
class Site:
    """What those share that build side by side.

    `jobs` bounds how many are built at once, `indexing` how many sort and make indexes at once.
    """

    database: Database
    settings: Settings
    reader: LogReader
    considerate: Considerate
    formation: Formation
    jobs: asyncio.Semaphore
    indexing: asyncio.Semaphore
    show: Show


def cores(settings: Settings) -> int:
    """How many processors a rebuild may keep busy in Postgres."""
    return max(1, int((os.cpu_count() or 1) * settings.rebuild_share))


class Building:
    """The building of one projection's shadow, phase after phase."""

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
        self.events = 0
        self._extra_indexes = extra_indexes

    async def run(self) -> None:
        """Builds until the shadow follows the log's head."""
        async with self.site.jobs:
            connection = await self.site.database.connect(f"rebuild {self.projection.name}")
            try:
                await bulk.prepare(connection, cores(self.site.settings) - 1)
                await self._phases(connection)
            finally:
                self.site.formation.left(self.projection.name)
                await close_quietly(connection)

    async def _phases(self, connection: asyncpg.Connection) -> None:
        build = await self._found(connection)
        loader = bulk.BulkLoader(self.projection, self.home)
        await loader.open(connection)
        if build.phase == shadow.LOAD:
            await self._load(connection, loader, build.through_offset)
            self._say("sort", 0, 1)
            async with self.site.indexing:
                await self._take_out_busy(connection)
            build = await self._found(connection)
        if build.phase == shadow.KEYS:
            try:
                await self._keys(connection, loader, build)
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

    async def _found(self, connection: asyncpg.Connection) -> shadow.Build:
        build = await shadow.find(connection, self.home)
        assert build is not None
        return build

    def _say(self, what: str, done: int, total: int) -> None:
        self.site.show(self.projection.name, what, done, total)

    async def _load(
        self, connection: asyncpg.Connection, loader: bulk.BulkLoader, through: int
    ) -> None:
        reader, name = self.site.reader, self.projection.name
        await reader.refresh()
        at = await shadow.checkpoint_of(connection, self.home)
        size = self.site.settings.window_events_max
        self.site.formation.at(name, at)
        loading: asyncio.Task[None] | None = None
        try:
            # A window is read and sorted while Postgres loads the one before.
            while at < through:
                begun = time.monotonic()
                wanted = min(size, through - at)
                window = await reader.window(at, self.projection.collection, wanted)
                await self.site.formation.hold(name, window.through, reader.head)
                sorted_window = await loader.sort(window)
                if loading is not None:
                    await loading
                loading = asyncio.create_task(loader.load(connection, sorted_window))
                at = window.through
                self.events += window.events
                self.site.formation.at(name, at)
                self._say("load", at, through)
                await self.site.considerate.rest(time.monotonic() - begun)
            if loading is not None:
                await loading
        finally:
            if loading is not None:
                loading.cancel()
                await asyncio.gather(loading, return_exceptions=True)
        self.site.formation.left(name)

    async def _take_out_busy(self, connection: asyncpg.Connection) -> None:
        beside = await self.site.database.connect(f"rebuild {self.projection.name} rivals")
        try:
            await bulk.prepare(beside, 0)
            await bulk.take_out_busy(connection, beside, self.projection, self.home)
        finally:
            await close_quietly(beside)

    async def _keys(
        self, connection: asyncpg.Connection, loader: bulk.BulkLoader, build: shadow.Build
    ) -> None:
        memory = self.site.settings.rebuild_memory_mib
        self._say("keys", 0, 1)
        async with self.site.indexing:
            await bulk.make_keys(connection, self.home, indexes=False, memory_mib=memory)
        writing = await self.site.database.connect(
            f"rebuild {self.projection.name} keys", **APPLY_SETTINGS
        )
        try:
            settler = bulk.Settler(self.projection, self.home, loader.refused)
            begun = time.monotonic()
            async for through in settler.settle(connection, writing, build):
                self._say("keys", through, build.through_offset)
                await self.site.considerate.rest(time.monotonic() - begun)
                begun = time.monotonic()
        finally:
            await close_quietly(writing)
        self._say("index", 0, 1)
        async with self.site.indexing:
            await bulk.make_keys(connection, self.home, indexes=True, memory_mib=memory)
            for definition in await self._extra_indexes(connection) if self._extra_indexes else []:
                await connection.execute(definition)
        await bulk.finish(connection, self.projection, self.home)
        self._say("index", 1, 1)


async def build_all(buildings: Sequence[Building]) -> int:
    """Builds side by side; the first failure ends all. Returns how many events were loaded."""
    work = [asyncio.create_task(b.run(), name=b.projection.name) for b in buildings]
    try:
        await first_failure(work, [])
    finally:
        for task in work:
            task.cancel()
        await asyncio.gather(*work, return_exceptions=True)
    return sum(building.events for building in buildings)
