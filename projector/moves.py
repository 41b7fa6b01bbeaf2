"""Moves: how the keys of counters move with rows that were really inserted or deleted."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any

import asyncpg

from projector.copying import Decided, JudgedCells
from projector.declare import Projection, Row
from projector.statements import Statements

Places = list[tuple[int, int]]
"""Counters, by their place among all, and at which cell of a row each finds its key."""


class Moves:
    """Counts the rows of one projection, for all counters that they move (invariant 6).

    `tally` has how the keys of each counter have moved, in the order of the counters.
    """

    def __init__(self, sql: Statements, projection: Projection) -> None:
        self.tally: list[Tally[str]] = [Tally() for _ in sql.counters]
        self._sql = sql
        columns = projection.table.columns
        self._sent = self._columns(None, columns)
        self._unless = {
            at: projection.decided.index(counter.unless)
            for at, counter in enumerate(sql.counters)
            if counter.unless
        }
        self._returned: dict[str | None, Places] = {None: self._cells(None, sql.counted)}
        self._children: list[tuple[int, Places]] = []
        self._judged: list[tuple[int, Places]] = []
        for child in sql.children:
            self._returned[child.name] = self._cells(child.name, child.counted)
            if places := self._columns(child.name, child.columns):
                (self._judged if child.judged else self._children).append((child.at, places))

    def _columns(self, child: str | None, columns: Sequence[str]) -> Places:
        return [
            (at, columns.index(counter.by))
            for at, counter in enumerate(self._sql.counters)
            if counter.child == child
        ]

    def _cells(self, child: str | None, cells: Sequence[str]) -> Places:
        return [
            (at, cells.index(counter.cell))
            for at, counter in enumerate(self._sql.counters)
            if counter.child == child
        ]

    def sent(self, rows: Sequence[Row], decided: Decided) -> None:
        """Counts rows that were inserted, all of those that we sent."""
        for at, column in self._sent:
            counting = self._counting(at, rows, decided) if decided else rows
            self._add(at, map(itemgetter(column), counting), 1)
        self.sent_children(rows)

    def _counting(self, at: int, rows: Sequence[Row], decided: Decided) -> Sequence[Row]:
        place = self._unless.get(at)
        if place is None:
            return rows
        out = {uri for uri, cells in decided.items() if cells[place]}
        return [row for row in rows if row[0] not in out]

    def sent_children(self, rows: Sequence[Row]) -> None:
        """Counts what was inserted with rows into child tables, and not the rows themselves."""
        self._add_children(self._children, rows)

    def sent_judged(self, cells: Sequence[JudgedCells]) -> None:
        """Counts what was inserted into judged child tables."""
        self._add_children(self._judged, cells)

    def _add_children(
        self, children: list[tuple[int, Places]], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        for cell_at, places in children:
            inner = [one for row in rows if (cell := row[cell_at]) for one in cell]
            for at, column in places:
                self._add(at, map(itemgetter(column), inner), 1)

    def returned(self, rows: Sequence[asyncpg.Record], sign: int, child: str | None = None) -> None:
        """Counts rows that a statement returned: inserted (1) or deleted (-1), of the table or a
        child table, with the cells `counted`."""
        for at, column in self._returned[child]:
            self._add(at, map(itemgetter(column), rows), sign)

    def _add(self, at: int, keys: Iterable[str | None], sign: int) -> None:
        tally = self.tally[at]
        for key, n in Tally(keys).items():
            if key is not None:
                tally[key] += sign * n
