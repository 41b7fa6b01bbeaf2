"""A series of samples while something long runs: memory of each process, progress of the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from ops.bench.processes import rss_bytes, tree_pss_bytes
from projector.database import Database

PROGRESS: Final = """
SELECT (SELECT head FROM projector.log_head),
    (SELECT min(log_offset) FROM projector.checkpoint WHERE projection = ANY($1::text[]))
"""
MIB: Final = 1024 * 1024
SAMPLES_MIN: Final = 8


@dataclass(slots=True)
class Series:
    """One number over time."""

    values: list[float] = field(default_factory=list)

    @property
    def halves(self) -> tuple[float, float]:
        """The greatest of the first half, and that of the second."""
        middle = len(self.values) // 2
        return max(self.values[:middle] or [0]), max(self.values[middle:] or [0])


@dataclass(slots=True)
class Samples:
    """What was seen, every `every_seconds`."""

    every_seconds: float
    seconds: list[float] = field(default_factory=list)
    head: list[int] = field(default_factory=list)
    applied: list[int] = field(default_factory=list)
    memory_bytes: dict[str, Series] = field(default_factory=dict)

    def rates(self, offsets: Sequence[int]) -> tuple[float, float] | None:
        """Events a second of the first half of the events, and of the second; None: too short."""
        begun = max(i for i, offset in enumerate(offsets) if offset == offsets[0])
        ended = offsets.index(offsets[-1])
        if ended - begun < SAMPLES_MIN:
            return None
        half = (offsets[0] + offsets[-1]) / 2
        at = next(i for i, offset in enumerate(offsets) if offset >= half)
        over = (offsets[at] - half) / (offsets[at] - offsets[at - 1])
        middle = self.seconds[at] - over * (self.seconds[at] - self.seconds[at - 1])
        events = half - offsets[0]
        return events / (middle - self.seconds[begun]), events / (self.seconds[ended] - middle)

    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "seconds": [round(second, 2) for second in self.seconds],
            "head": self.head,
            "applied": self.applied,
            "memory_mib": {
                name: [round(value / MIB, 1) for value in series.values]
                for name, series in self.memory_bytes.items()
            },
        }


class Sampler:
    """Samples processes by name: `rss` of one process, `pss` of one with all its children."""

    def __init__(
        self, database: Database, tables: Sequence[str], every_seconds: float = 0.5
    ) -> None:
        self.database = database
        self.tables = list(tables)
        self.samples = Samples(every_seconds)
        self._look: dict[str, Callable[[], int]] = {}

    def rss(self, name: str, pid: int) -> None:
        """Watches one process."""
        self._look[name] = lambda: rss_bytes(pid)

    def pss(self, name: str, root: int | None) -> None:
        """Watches a server, if it is one of our own."""
        if root is not None:
            self._look[name] = lambda: tree_pss_bytes(root)

    @asynccontextmanager
    async def sampling(self) -> AsyncIterator[Samples]:
        """Samples for as long as the body; once at its start, and once at its end."""
        connection = await self.database.connect("bench samples")
        stop = asyncio.Event()
        task = asyncio.create_task(self._run(connection, stop))
        try:
            yield self.samples
        finally:
            stop.set()
            try:
                await task
            finally:
                await connection.close()

    async def _run(self, connection: asyncpg.Connection, stop: asyncio.Event) -> None:
        begun = time.monotonic()
        while True:
            await self._take(connection, begun)
            if stop.is_set():
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self.samples.every_seconds)

    async def _take(self, connection: asyncpg.Connection, begun: float) -> None:
        row = await connection.fetchrow(PROGRESS, self.tables)
        assert row is not None
        head, applied = row
        memory = await asyncio.to_thread(lambda: {n: look() for n, look in self._look.items()})
        self.samples.seconds.append(time.monotonic() - begun)
        self.samples.head.append(head)
        self.samples.applied.append(applied)
        for name, value in memory.items():
            self.samples.memory_bytes.setdefault(name, Series()).values.append(value)
