"""Applying a group: one window of several projections, all their checkpoints with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.event import Event
from projector.answers import Answers
from projector.apply import TableWriter
from projector.declare import Projection
from projector.errors import CheckpointMoved, Corruption
from projector.fold import Folded, Folder, Letter, Steps, Window, finished
from projector.groups import Group
from projector.hearing import Hearing
from projector.home import Home
from projector.marking import Marking
from projector.overlay import Overlay, owner_of
from projector.windows import Applied, Probed

HOLD: Final = """
SELECT projection, version, log_offset, edits FROM projector.checkpoint
WHERE projection = ANY($1::text[]) ORDER BY projection FOR UPDATE
"""
MOVE: Final = """
UPDATE projector.checkpoint AS c SET log_offset = $3, events = c.events + m.events,
    events_per_second = m.rate, updated_at = now()
FROM unnest($1::text[], $4::bigint[], $5::float8[]) AS m(projection, events, rate)
WHERE c.projection = m.projection AND c.log_offset = $2
"""

Homes = Callable[[Projection], Home]


@dataclass(slots=True)
class GroupFolded:
    """The net effect of a window on each member of a group, by name."""

    parts: dict[str, Folded] = field(default_factory=dict)

    @property
    def letters(self) -> dict[str, list[Letter]]:
        """The dead letters of each that has any."""
        return {name: part.letters for name, part in self.parts.items() if part.letters}


@dataclass(frozen=True, slots=True)
class GroupApplied:
    """What a window did, by member, and how far it went: not beyond a doubt that it met."""

    window: Window
    folded: GroupFolded
    parts: Mapping[str, Applied]
    events: Mapping[str, int]


def part_of(window: Window, projection: Projection) -> Window:
    """What of a group's window concerns one member."""
    collections = frozenset(projection.collections)
    commits = [e for e in window.commits if e.collection in collections]
    return Window(window.after, window.through, commits, window.removals)


class GroupFolder:
    """Folds windows for all members of a group."""

    def __init__(self, group: Group) -> None:
        self.folders = [Folder(member, notes=True) for member in group.members]

    def fold_beginning(self, window: Window) -> tuple[Window, GroupFolded]:
        """The longest beginning of the window that can be applied as one, and its net effect."""
        return finished(self.beginning_steps(window))

    def beginning_steps(self, window: Window) -> Steps[tuple[Window, GroupFolded]]:
        """Does the same in small steps."""
        while True:
            folded = GroupFolded()
            undecided: list[int] = []
            for folder in self.folders:
                part = yield from folder.steps(part_of(window, folder.projection))
                folded.parts[folder.projection.name] = part
                undecided += [part.undecided] if part.undecided is not None else []
            if not undecided:
                return window, folded
            window, _ = window.cut(min(undecided) - 1)

    def letter(self, event: Event, letter: Letter) -> GroupFolded:
        """The effect of an event that becomes a dead letter of those whom it concerns."""
        return GroupFolded(
            {
                folder.projection.name: Folded(
                    letters=[letter] if self._reads(folder, event) else []
                )
                for folder in self.folders
            }
        )

    def _reads(self, folder: Folder, event: Event) -> bool:
        return event.removes_account or event.collection in folder.projection.collections


class GroupWriter:
    """Writes windows to the tables of a group, `home` telling where these are."""

    def __init__(self, group: Group, home: Homes) -> None:
        self.group = group
        self.names = {member.name: home(member).name for member in group.members}
        told = {mark.projection: ("uri", mark.by) for mark in group.judging.marks}
        self.writers = {
            member.name: TableWriter(member, home(member), told.get(member.name, ()))
            for member in group.members
        }
        self._folder = GroupFolder(group)

    async def apply(
        self,
        connection: asyncpg.Connection,
        window: Window,
        folded: GroupFolded,
        rates: Callable[[str, int], float] = lambda _name, _events: 0.0,
    ) -> GroupApplied:
        """Applies a folded window, or the beginning of it that can be applied as one; when it
        returns all of that is committed, else nothing is.

        `rates` is told of each member how many events it had, and tells how many a second. Raises
        `CheckpointMoved` when a member is not where the window begins (invariant 2), and
        `Corruption` when the tables contradict each other.
        """
        try:
            async with connection.transaction():
                await self._hold(connection, window.after)
                applied = await self._write(connection, window, folded, rates)
                crash_point("group.written")  # Recovery: no row, no checkpoint has moved.
            crash_point("group.committed")  # Recovery: all is there, or nothing.
            return applied
        except asyncpg.UniqueViolationError as error:
            raise Corruption(
                f"{self.group.name}: {error.message}; its tables contradict each other, rebuild "
                "the projection"
            ) from error

    async def _hold(self, connection: asyncpg.Connection, after: int) -> None:
        """Keeps everybody else from the members' tables, whose state is then that at `after`."""
        held = {row[0]: row[1:] for row in await connection.fetch(HOLD, list(self.names.values()))}
        for name, writer in self.writers.items():
            version, offset, edits = held.get(self.names[name], (None, None, 0))
            if (version, offset) != (writer.projection.version, after):
                raise CheckpointMoved(self.names[name])
            await writer.feed_as_of(connection, edits)

    async def _write(
        self,
        connection: asyncpg.Connection,
        window: Window,
        folded: GroupFolded,
        rates: Callable[[str, int], float],
    ) -> GroupApplied:
        answers = Answers(self.writers)
        while True:
            taken = {name: await self._taken(connection, window, name, folded.parts[name])
                     for name in self.writers}  # fmt: skip
            overlays = self._overlays(window, folded, taken)
            hearing = Hearing(self.group, self.writers, overlays, answers)
            marking = Marking(self.group, self.writers, overlays)
            await hearing.hear(connection)
            await marking.look(connection, answers, hearing)
            if hearing.limit is None:
                break
            window, folded = self._folder.fold_beginning(window.cut(hearing.limit - 1)[0])
        events = {m.name: part_of(window, m).events for m in self.group.members}
        await self._move(connection, window, events, rates)
        crash_point("group.moved")  # Recovery: the checkpoints are where they were.
        parts: dict[str, Applied] = {}
        for member in self.group.others:
            name = member.name
            parts[name] = await self.writers[name].write(
                connection, folded.parts[name], window.through, Probed(0, taken[name])
            )
        name, marks = self.group.name, marking.found(parts)
        marking.decide(folded.parts[name], hearing.verdicts, marks)
        parts[name] = await self.writers[name].write(
            connection, folded.parts[name], window.through, Probed(0, taken[name])
        )
        await marking.mark(connection, folded.parts[name], marks)
        return GroupApplied(window, folded, parts, events)

    async def _taken(
        self, connection: asyncpg.Connection, window: Window, name: str, folded: Folded
    ) -> set[str]:
        """Which fresh rows are taken; of these, repeats of what the tables have are dropped."""
        if not folded.fresh:
            return set()
        writer = self.writers[name]
        taken = await writer.taken(connection, folded.fresh)
        removed = {event.did for event in window.removals}
        asked = [row for row in folded.fresh if row[0] in taken]
        if removed:
            asked = [row for row in asked if owner_of(row[0]) not in removed]
        repeats = await writer.repeats(connection, asked, folded.revs)
        if repeats:
            folded.fresh = [row for row in folded.fresh if row[0] not in repeats]
            for uri in repeats:
                del folded.touches[uri]
        return taken - repeats

    def _overlays(
        self, window: Window, folded: GroupFolded, taken: Mapping[str, set[str]]
    ) -> dict[str, Overlay]:
        removed: dict[str, int] = {}
        for event in window.removals:
            removed.setdefault(event.did, event.log_offset)
        return {
            name: Overlay(
                writer.projection,
                folded.parts[name],
                removed,
                {row[0] for row in folded.parts[name].fresh} - taken[name],
            )
            for name, writer in self.writers.items()
        }

    async def _move(
        self,
        connection: asyncpg.Connection,
        window: Window,
        events: Mapping[str, int],
        rates: Callable[[str, int], float],
    ) -> None:
        names = list(self.names.values())
        counts = [events[name] for name in self.names]
        speeds = [rates(name, events[name]) for name in self.names]
        moved = await connection.execute(MOVE, names, window.after, window.through, counts, speeds)
        if moved != f"UPDATE {len(names)}":
            raise CheckpointMoved(self.group.name)
