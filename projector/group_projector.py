"""The loop that keeps a group in step with the log: all its projections at one offset."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import asyncpg

from events.event import Event
from projector.committing import read_checkpoint
from projector.database import Database
from projector.errors import SchemaMismatch
from projector.fold import Letter, Steps, Window
from projector.formation import Formation
from projector.group_apply import GroupApplied, GroupFolded, GroupFolder, GroupWriter, Homes
from projector.groups import Group
from projector.loop import WindowLoop
from projector.pace import AdaptiveWindow, Rate
from projector.projectors import OnRows, TableProjector, count
from projector.reader import LogReader
from projector.telemetry import apply_span, is_recorded
from projector.window_traces import keep_window
from projector.windows import Probed

log = logging.getLogger(__name__)

WINDOW_PARTS: Final = 8
"""Windows of a group are by so much smaller than others: one that is cut, where the tables must
decide first, is folded anew from there. Of 60,000 generated events each took 40 µs of CPU in
windows of 2,500 offsets, and 56 in those of 20,000."""


class GroupProjector(WindowLoop[GroupFolded]):
    """Applies a group; `home` tells where the tables of each member are."""

    def __init__(
        self,
        group: Group,
        database: Database,
        reader: LogReader,
        *,
        home: Homes,
        window: AdaptiveWindow,
        formation: Formation | None = None,
        on_deltas: Callable[[], None] = lambda: None,
        on_rows: OnRows = lambda _name, _rows: None,
    ) -> None:
        collections = [c for member in group.members for c in member.collections]
        name = home(group.judged).name
        window = replace(window, events_max=max(window.events_max // WINDOW_PARTS, 1), events=0)
        super().__init__(name, collections, database, reader, window=window, formation=formation)
        self.group = group
        self.names = sorted(home(member).name for member in group.members)
        self.writer = GroupWriter(group, home)
        self.on_deltas = on_deltas
        self.on_rows = on_rows
        self._home = home
        self._folder = GroupFolder(group)
        self._rates: defaultdict[str, Rate] = defaultdict(Rate)

    async def _begin(self, connection: asyncpg.Connection, stop: asyncio.Event) -> int:
        """Brings those that are behind to where the judged one is, each by itself.

        Raises `SchemaMismatch` where one is ahead of it: what that was before is not known.
        """
        at = {
            member.name: await read_checkpoint(connection, member, self._home(member).name)
            for member in self.group.members
        }
        goal = at[self.group.name]
        ahead = [name for name, offset in sorted(at.items()) if offset > goal]
        if ahead:
            raise SchemaMismatch(
                f"{self.name} is at offset {goal}, and behind {', '.join(ahead)}, by whose rows it "
                f"is judged; run: projector rebuild {self.group.name}"
            )
        for member in self.group.others:
            if at[member.name] < goal:
                log.info("%s: first alone, up to offset %d", member.name, goal)
                alone = TableProjector(
                    member, self.database, self.reader, home=self._home(member), window=self.pace
                )
                await alone.run(stop, until=goal)
        return goal

    def _fold(self, window: Window) -> Steps[tuple[Window, GroupFolded]]:
        return self._folder.beginning_steps(window)

    def _letter(self, event: Event, letter: Letter) -> GroupFolded:
        return self._folder.letter(event, letter)

    async def _commit(
        self,
        connection: asyncpg.Connection,
        window: Window,
        folded: GroupFolded,
        _probed: Probed | None,
    ) -> int:
        appends = await self.reader.appends(window) if is_recorded() else ()
        begun = time.monotonic()
        with apply_span(self.name, window, appends) as span:
            traceparent = span.traceparent()
            await self._keep(connection, window, traceparent)
            applied = await self.writer.apply(connection, window, folded, self._rate)
            if applied.window.through < window.through:
                await self._keep(connection, applied.window, traceparent)
            self._count(applied, time.monotonic() - begun)
            parts = applied.parts.values()
            span.did(
                rows_inserted=sum(part.inserted for part in parts),
                rows_deleted=sum(part.deleted for part in parts),
                deltas=sum(part.deltas for part in parts),
                dead_letters=sum(map(len, applied.folded.letters.values())),
            )
        for name, part in applied.parts.items():
            if part.inserted or part.deleted:
                self.on_deltas()
                self.on_rows(name, applied.folded.parts[name].fresh)
        return applied.window.through

    async def _keep(
        self, connection: asyncpg.Connection, window: Window, traceparent: str | None
    ) -> None:
        for name in self.names if traceparent is not None else ():
            await keep_window(connection, name, window, str(traceparent))

    def _rate(self, name: str, events: int) -> float:
        return self._rates[name].add(events)

    def _count(self, applied: GroupApplied, seconds: float) -> None:
        for name, part in applied.parts.items():
            events = applied.events[name]
            count(self.writer.names[name], events, applied.folded.parts[name], part, seconds)
