"""Loading: the log into the shadows of several projections, each window read once for all.

Windows go to strands, each with a connection of its own; the order does not matter. Two strands
share a process, each with windows half as large as usual: while Postgres takes the rows of one, the
other decodes.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import asyncpg

from events.history import WholeLog
from projector.bulk import BulkLoader, prepare
from projector.considerate import Considerate
from projector.database import Database, close_quietly
from projector.declare import Projection
from projector.home import Home
from projector.reader import Block

STRANDS: Final = 2
"""How many windows a process has in work at once."""
PIECE_EVENTS: Final = 2_000
"""How many offsets are read at once; then it is asked how many bytes that made."""

LEFT: Final = """
SELECT lower(r), upper(r)
FROM unnest(int8multirange(int8range(0, $2, '(]')) - (
    SELECT loaded FROM projector.build WHERE name = $1)) AS r
"""


@dataclass(frozen=True, slots=True, order=True)
class Work:
    """Offsets above `after` up to `through`, to be loaded into the shadows of those named."""

    after: int
    through: int
    names: tuple[str, ...]


@dataclass(slots=True, eq=False)
class Strand:
    """Loads one window after the other, in this process."""

    database: Database
    targets: Mapping[str, tuple[Projection, Home]]
    bytes_max: int
    _connection: asyncpg.Connection | None = None
    _log: WholeLog = field(default_factory=WholeLog)
    _loaders: dict[str, BulkLoader] = field(default_factory=dict)

    async def load(self, work: Work) -> int:
        """Loads it, in parts where its records are large; returns how many events that were."""
        connection = await self._connected()
        done, after = 0, work.after
        while after < work.through:
            block = await self._read(connection, after, work)
            for name in work.names:
                loader = self._loaders[name]
                window = block.window(after, block.through, loader.projection.collections)
                await loader.load(connection, await loader.sort(window))
                done += window.events
            after = block.through
        return done

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None:
            self._connection = await self.database.connect("rebuild load", enable_seqscan="off")
            await prepare(self._connection, 0)
            for name, (projection, home) in self.targets.items():
                self._loaders[name] = BulkLoader(projection, home)
                await self._loaders[name].open(self._connection)
        return self._connection

    async def _read(self, connection: asyncpg.Connection, after: int, work: Work) -> Block:
        collections = sorted({c for name in work.names for c in self.targets[name][0].collections})
        block = Block(after, after)
        while block.through < work.through and block.record_bytes < self.bytes_max:
            through = min(block.through + PIECE_EVENTS, work.through)
            block.add(
                await self._log.read(connection, block.through, through, collections), through
            )
        return block

    async def close(self) -> None:
        """Closes the connection, and the archive's files."""
        await close_quietly(self._connection)
        await self._log.close()


class Place(Protocol):
    """Where windows are loaded: this process, or one beside it."""

    async def load(self, work: Work) -> int:
        """Loads a window; returns how many events of it were for somebody."""
        ...

    async def close(self) -> None:
        """Lets go of what it holds; what is under way is given up."""
        ...


Loaded = Callable[[str, int, int], None]
"""Told of a projection's name, and how many of how many offsets are loaded."""


class Loading:
    """Has every window loaded that is not loaded yet, by several strands side by side."""

    def __init__(
        self, strands: Sequence[Place], considerate: Considerate, window_events: int, say: Loaded
    ) -> None:
        self.strands = strands
        self.considerate = considerate
        self.window_events = window_events
        self.say = say
        self.events = 0
        self._left: deque[Work] = deque()
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    async def run(
        self, connection: asyncpg.Connection, builds: Mapping[str, tuple[Home, int]]
    ) -> None:
        """Loads; `builds` has the home of each shadow by name, and the offset to load up to."""
        await self._find(connection, builds)
        tasks = [asyncio.create_task(self._strand(place)) for place in self.strands]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _find(
        self, connection: asyncpg.Connection, builds: Mapping[str, tuple[Home, int]]
    ) -> None:
        wanted: dict[tuple[int, int], list[str]] = {}
        for name, (home, through) in builds.items():
            ranges = [(a, b) for a, b in await connection.fetch(LEFT, home.name, through)]
            left = windows(ranges, self.window_events)
            for window in left:
                wanted.setdefault(window, []).append(name)
            self._total[name] = through
            self._done[name] = through - sum(b - a for a, b in left)
        self._left.extend(sorted(Work(*window, tuple(names)) for window, names in wanted.items()))

    async def _strand(self, place: Place) -> None:
        while self._left:
            begun = time.monotonic()
            work = self._left.popleft()
            events = await place.load(work)
            self.events += events
            for name in work.names:
                self._done[name] += work.through - work.after
                self.say(name, self._done[name], self._total[name])
            await self.considerate.rest(time.monotonic() - begun)


def windows(ranges: Sequence[tuple[int, int]], window_events: int) -> list[tuple[int, int]]:
    """Ranges, each from its first offset up to, not with, its second, cut where windows end."""
    cut = []
    for first, end in ranges:
        after = first - 1
        while after < end - 1:
            through = min((after // window_events + 1) * window_events, end - 1)
            cut.append((after, through))
            after = through
    return cut
