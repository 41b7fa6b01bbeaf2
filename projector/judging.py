"""Judging: what a row says of other records, as they were when its event was applied.

A verdict is passed once, when a record is applied, and stays until the record is updated. It sees
what all events of lower offsets have made of the projections that it declares to come after, in
whatever windows they were applied.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

Cell = str | bool | None


@dataclass(frozen=True, slots=True)
class CellsOf:
    """Asks for columns of the row that a record has in a projection's table.

    The answer is a tuple of the columns' values, or None where there is no row.
    """

    projection: str
    uri: str
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ChildrenOf:
    """Asks for the rows that a record has in a child table; the answer is a tuple of rows."""

    projection: str
    child: str
    uri: str


@dataclass(frozen=True, slots=True)
class Claims:
    """Asks whether a record makes a claim (values of `Table.unique`); the answer is a bool."""

    projection: str
    claim: tuple[str, ...]


Question = CellsOf | ChildrenOf | Claims
Flags = tuple[bool | None, ...]
"""Values of judged columns, or of all whose values hang on other records."""

Verdict = tuple[Any, ...]
"""A value for each judged column, then the rows of each judged child table, None for none."""

Judging = Generator[Question, Any, Verdict]
"""Yields questions, is sent the answers, and returns the verdict."""

Found = TypeVar("Found")
Asking = Generator[Question, Any, Found]
"""A part of it, that comes to something."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A column that says of a record whether another, of the same account, points at it.

    `projection` is that of the others, `by` the column of its table with the record's at-uri. When
    such a row appears, the record that is there then is marked with true; when it goes, with false.
    An update of the record leaves the mark as it is, its delete takes it away.
    """

    column: str
    projection: str
    by: str


@dataclass(frozen=True, slots=True)
class Judged:
    """Columns of a projection's table whose values hang on other records: verdicts and marks.

    `judge` is called with a row of the table (its columns, then its child tables), and comes to a
    value for each of `columns`, then to the rows of each of `Projection.judged_children`. The
    columns, and those of the `marks`, are boolean and not among `Table.columns`. It
    may ask about rows of its own projection, but not about marks nor about judged child tables, and
    of those named in `after`, which are applied together with it; marks are made by some of these.
    """

    columns: tuple[str, ...]
    judge: Callable[[tuple[Any, ...]], Judging]
    after: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()

    @property
    def decided(self) -> tuple[str, ...]:
        """All columns, verdicts first."""
        return (*self.columns, *(mark.column for mark in self.marks))
