"""Judging: what a row says of other records, as they were when its event was applied.

A verdict is passed once, when a record is applied, and stays until the record is updated. It sees
what all events of lower offsets have made of the projections that it declares to come after, in
whatever windows they were applied.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

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
Verdict = tuple[bool | None, ...]
"""A value for each judged column."""

Judging = Generator[Question, Any, Verdict]
"""Yields questions, is sent the answers, and returns the verdict."""

Asking = Generator[Question, Any, bool]
"""A part of it that comes to yes or no."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Columns of a projection's table whose values are verdicts.

    `judge` is called with a row of the table (its columns, then its child tables). The columns are
    boolean and not among `Table.columns`. `after` names the projections it may ask about beside its
    own: they are applied together with it.
    """

    columns: tuple[str, ...]
    judge: Callable[[tuple[Any, ...]], Judging]
    after: tuple[str, ...] = ()
