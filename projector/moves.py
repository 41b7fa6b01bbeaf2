"""Moves: how the keys of counters move with rows that were really inserted or deleted."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from operator import itemgetter

import asyncpg

from projector.declare import Row
from projector.statements import Statements

Places = list[tuple[int, int]]
"""Counters, by their place among all, and at which column of a row each finds its key."""


class Moves:
    """Counts the rows of one projection, for all counters that they move (invariant 6).

    `tally` has how the keys of each counter have moved, in the order of the counters.
    """

    def __init__(self, sql: Statements, columns: Sequence[str]) -> None:
        self.tally: list[Tally[str]] = [Tally() for _ in sql.counters]
        self._sql = sql
        self._sent = self._places(None, columns)
        self._returned: dict[str | None, Places] = {None: self._places(None, sql.counted)}
        self._children: list[tuple[int, Places]] = []
        for child in sql.children:
            self._returned[child.name] = self._places(child.name, child.counted)
            if places := self._places(child.name, child.columns):
                self._children.append((child.at, places))

    def _places(self, child: str | None, columns: Sequence[str]) -> Places:
        return [
            (at, columns.index(counter.by))
            for at, counter in enumerate(self._sql.counters)
            if counter.child == child
        ]

    def sent(self, rows: Sequence[Row]) -> None:
        """Counts rows that were inserted, all of those that we sent."""
        for at, column in self._sent:
            self._add(at, map(itemgetter(column), rows), 1)
        self.sent_children(rows)

    def sent_children(self, rows: Sequence[Row]) -> None:
        """Counts what was inserted with rows into child tables, and not the rows themselves."""
        for cell_at, places in self._children:
            inner = [one for row in rows if (cell := row[cell_at]) for one in cell]
            for at, column in places:
                self._add(at, map(itemgetter(column), inner), 1)

    def returned(self, rows: Sequence[asyncpg.Record], sign: int, child: str | None = None) -> None:
        """Counts rows that a statement returned: inserted (1) or deleted (-1), of the table or a
        child table, with the columns `counted`."""
        for at, column in self._returned[child]:
            self._add(at, map(itemgetter(column), rows), sign)

    def _add(self, at: int, keys: Iterable[str | None], sign: int) -> None:
        tally = self.tally[at]
        for key, n in Tally(keys).items():
            if key is not None:
                tally[key] += sign * n
