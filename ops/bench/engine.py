"""Windows through the engine's own fold, writers and mergers: one connection, no log, no daemon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter

import asyncpg

from events.event import Event
from projector.aggregate import Merger
from projector.apply import TableWriter
from projector.committing import Step
from projector.declare import Aggregate, Declaration, Projection
from projector.fold import Folder, Window
from projector.settings import Settings
from projector.statements import live


@dataclass(slots=True)
class Done:
    """What windows did: rows put in, rows taken out, deltas merged into counters."""

    inserted: int = 0
    deleted: int = 0
    merged: int = 0


class Engine:
    """Applies window after window to all projections in turn, then merges what they counted."""

    def __init__(self, declarations: Sequence[Declaration], settings: Settings) -> None:
        self.tables = [
            (Folder(d), TableWriter(d, live(d, settings.schema)))
            for d in declarations
            if isinstance(d, Projection)
        ]
        self.mergers = [
            Merger(d, live(d, settings.schema), settings.outbox_rows_max)
            for d in declarations
            if isinstance(d, Aggregate)
        ]
        self.offset = 0
        self.done = Done()

    async def apply(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        """Applies the events that follow those it has had, and merges what they counted."""
        await self.write(connection, events)
        await self.merge(connection)

    async def write(self, connection: asyncpg.Connection, events: Sequence[Event]) -> None:
        """Applies the events that follow those it has had; they carry their offsets."""
        after, self.offset = self.offset, events[-1].log_offset
        commits: dict[str | None, list[Event]] = {}
        removals = [event for event in events if event.removes_account]
        for event in events:
            if event.kind == "commit":
                commits.setdefault(event.collection, []).append(event)
        for folder, writer in self.tables:
            parts = [commits.get(c, []) for c in writer.projection.collections]
            concerned = sorted(chain(*parts), key=attrgetter("log_offset"))
            window = Window(after, self.offset, concerned, removals)
            await self._write(connection, folder, writer, window)

    async def merge(self, connection: asyncpg.Connection) -> None:
        """Merges all that waits in the outbox."""
        for merger in self.mergers:
            await self._merge(connection, merger)

    async def _write(
        self, connection: asyncpg.Connection, folder: Folder, writer: TableWriter, rest: Window
    ) -> None:
        while True:
            part, folded = folder.fold_beginning(rest)
            step = Step(part.after, part.through, part.events)
            applied = await writer.apply(connection, step, folded)
            self.done.inserted += applied.inserted
            self.done.deleted += applied.deleted
            if part.through == rest.through:
                return
            _, rest = rest.cut(part.through)

    async def _merge(self, connection: asyncpg.Connection, merger: Merger) -> None:
        while True:
            merged = await merger.merge(connection)
            self.done.merged += merged.deltas
            if merged.rows < merger.outbox_rows_max:
                return
