"""Marks: what records of others, which came or went, leave on the records that they point at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import asyncpg

from projector.answers import Answers
from projector.apply import TableWriter
from projector.fold import Folded, Touch
from projector.groups import Group
from projector.hearing import Hearing, is_any
from projector.home import quoted
from projector.judging import CellsOf, Flags, Mark, Verdict
from projector.overlay import Overlay
from projector.windows import Applied


@dataclass(frozen=True, slots=True)
class Marking:
    """The marks of one window of a group."""

    group: Group
    writers: Mapping[str, TableWriter]
    overlays: Mapping[str, Overlay]

    async def look(
        self, connection: asyncpg.Connection, answers: Answers, hearing: Hearing
    ) -> None:
        """Finds where it is in doubt which came first, the record or the mark; there the window
        must end."""
        for mark in self.group.judging.marks:
            touched = self.overlays[mark.projection].folded.touches
            free = self.overlays[mark.projection].free
            asked = {uri: _target(mark, uri) for uri in touched if uri not in free}
            await answers.ask(connection, [q for q in asked.values() if q not in answers])
            for uri, touches in touched.items():
                if len(touches) > 1:
                    hearing.doubt(touches[1].log_offset)
                before = answers[asked[uri]] if uri in asked else None
                for target in self._targets(mark, touches[0], before):
                    self._look_at(target, touches[0], hearing)

    def _targets(self, mark: Mark, touch: Touch, before: tuple[str, ...] | None) -> Iterator[str]:
        if before:
            yield before[0]
        if touch.row is not None:
            columns = self.writers[mark.projection].table.columns
            yield touch.row[columns.index(mark.by)]

    def _look_at(self, target: str, touch: Touch, hearing: Hearing) -> None:
        marked = self.overlays[self.group.name].folded.touches.get(target)
        if marked and not self._is_made_here(target):
            hearing.doubt(max(touch.log_offset, marked[-1].log_offset))

    def _is_made_here(self, uri: str) -> bool:
        overlay = self.overlays[self.group.name]
        touches = overlay.folded.touches.get(uri, ())
        return len(touches) == 1 and uri in overlay.free

    def found(self, applied: Mapping[str, Applied]) -> list[dict[str, bool]]:
        """The values of each mark by at-uri, by what really came and went."""
        every = []
        for mark in self.group.judging.marks:
            values: dict[str, bool] = {}
            offsets = self.overlays[mark.projection].folded.touches
            for (uri, target), value in applied[mark.projection].told:
                made = self.overlays[self.group.name].folded.touches.get(target)
                if not made or made[0].log_offset < offsets[uri][0].log_offset:
                    values[target] = value
            every.append(values)
        return every

    def decide(
        self, folded: Folded, verdicts: Mapping[str, Verdict], marks: Sequence[Mapping[str, bool]]
    ) -> None:
        """Notes what is decided of the rows that the window writes."""
        width = len(self.group.judging.columns)
        none: Flags = (None,) * width
        marked = set().union(*marks)
        rows = {row[0] for row in folded.fresh if row[0] in marked}
        for uri in rows.union(verdicts):
            verdict = verdicts.get(uri, none)
            if uri in marked or is_any(verdict[:width]):
                flags: Flags = verdict[:width]
                folded.decided[uri] = (*flags, *(values.get(uri) for values in marks))
            if is_any(verdict[width:]):
                folded.judged[uri] = verdict[width:]

    async def mark(
        self, connection: asyncpg.Connection, folded: Folded, marks: Sequence[Mapping[str, bool]]
    ) -> None:
        """Marks the records that were there before the window."""
        writer = self.writers[self.group.name]
        for mark, values in zip(self.group.judging.marks, marks, strict=True):
            left = {uri: value for uri, value in values.items() if uri not in folded.touches}
            if left:
                uris = sorted(left)
                sql = mark_statement(writer, mark.column)
                await connection.execute(sql, uris, [left[uri] for uri in uris])


def _target(mark: Mark, uri: str) -> CellsOf:
    return CellsOf(mark.projection, uri, (mark.by,))


def mark_statement(writer: TableWriter, column: str) -> str:
    """Sets a mark ($2) on the records ($1) that are there."""
    base = writer.home.base(writer.table)
    return (
        f"UPDATE {base} AS t SET {quoted(column)} = m.value"
        " FROM unnest($1::text[], $2::boolean[]) AS m(uri, value)"
        f" WHERE t.uri = m.uri AND t.{quoted(column)} IS DISTINCT FROM m.value"
    )
