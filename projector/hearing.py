"""A hearing: the verdicts on what a window brings, as of each event's place in the log.

The judges of all rows are heard together: they ask, and what the tables must answer is looked up
for all of them at once, in a few rounds. What the window itself did before an event is known by the
overlay. Where that is in doubt the window must end before the event that asks, which the next one
then begins with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import msgspec

from projector.answers import Answers
from projector.apply import TableWriter
from projector.fold import Touch
from projector.groups import Group
from projector.judging import CellsOf, ChildrenOf, Judging, Question, Verdict
from projector.overlay import Overlay, State

WAITS: Final = "waits"
LOST: Final = "lost"


class _Case(msgspec.Struct, gc=False):
    """A row to be judged, the question that is open, and the verdict in the end."""

    offset: int
    judge: Judging
    question: Question | None = None
    verdict: Verdict | None = None

    def hear(self, answer: Any) -> None:
        """Goes on to the next question, or to the verdict."""
        try:
            self.question = self.judge.send(answer)
        except StopIteration as end:
            self.question, self.verdict = None, end.value


class Hearing:
    """Judges the rows of one window of a group; the tables are as they were before it.

    `limit` is the offset of the first event that must wait for the next window, None for none:
    before it all verdicts are good.
    """

    def __init__(
        self,
        group: Group,
        writers: Mapping[str, TableWriter],
        overlays: Mapping[str, Overlay],
        answers: Answers,
    ) -> None:
        self.limit: int | None = None
        self.verdicts: dict[str, Verdict] = {}
        self._judging = group.judging
        self._name = group.name
        self._overlays = overlays
        self._answers = answers
        self._writers = writers
        self._cases: dict[str, _Case] = {}

    async def hear(self, connection: asyncpg.Connection) -> None:
        """Comes to all verdicts."""
        pending = self._open()
        while pending:
            wanted: set[Question] = set()
            for case in pending:
                self._advance(case, wanted)
            pending = [case for case in pending if case.question and not self._is_late(case.offset)]
            if wanted:
                await self._answers.ask(connection, wanted)
        for uri, case in self._cases.items():
            if case.verdict is not None and is_any(case.verdict):
                self.verdicts[uri] = case.verdict

    def doubt(self, offset: int) -> None:
        """Has the window end before an event."""
        self.limit = offset if self.limit is None else min(self.limit, offset)

    def _is_late(self, offset: int) -> bool:
        return self.limit is not None and offset >= self.limit

    def _open(self) -> list[_Case]:
        """Begins the cases; those that ask anything, in the order of their events."""
        folded = self._overlays[self._name].folded
        for row in (*folded.fresh, *folded.changed):
            offset = folded.touches[row[0]][-1].log_offset
            case = self._cases[row[0]] = _Case(offset, self._judging.judge(row))
            case.hear(None)
        asking = [case for case in self._cases.values() if case.question is not None]
        return sorted(asking, key=lambda case: case.offset)

    def _advance(self, case: _Case, wanted: set[Question]) -> None:
        """Goes on with a case as far as answers are known."""
        while case.question is not None and not self._is_late(case.offset):
            answer = self._answer(case.question, case.offset)
            if answer is WAITS:
                return
            if answer is LOST:
                wanted.add(case.question)
                return
            case.hear(answer)

    def _answer(self, question: Question, offset: int) -> Any:
        overlay = self._overlays[question.projection]
        if not isinstance(question, (CellsOf, ChildrenOf)):
            if question not in self._answers:
                return LOST
            claimed = overlay.is_claimed(question.claim, self._answers[question], offset)
            return self._in_doubt(offset) if claimed is None else claimed
        match overlay.at(question.uri, offset):
            case State.UNTOUCHED:
                return self._answers.get(question, LOST)
            case State.REMOVED:
                return None if isinstance(question, CellsOf) else ()
            case Touch() as touch:
                return self._made(question, touch)
            case _:
                return self._in_doubt(offset)

    def _in_doubt(self, offset: int) -> str:
        self.doubt(offset)
        return WAITS

    def _made(self, question: CellsOf | ChildrenOf, touch: Touch) -> Any:
        """What the window itself has made of a record."""
        assert touch.row is not None
        projection = self._writers[question.projection].projection
        if isinstance(question, ChildrenOf):
            return touch.row[projection.cells.index(question.child)] or ()
        cells: dict[str, Any] = dict(zip(projection.table.columns, touch.row, strict=False))
        if not cells.keys() >= set(question.columns):
            verdict = self._cases[question.uri].verdict
            if verdict is None:
                return WAITS
            cells.update(zip(self._judging.columns, verdict, strict=False))
        return tuple(cells[column] for column in question.columns)


def is_any(cells: Sequence[object]) -> bool:
    """Whether there is anything but None."""
    return any(cell is not None for cell in cells)
