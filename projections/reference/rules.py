"""What a collection does in its own way: its table, its claim, its counts, whom it tells."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from events.event import Event
from projections.reference.counting import Recount, counts_of
from projections.reference.notices import Notice
from projections.reference.reading import Item, reader
from projections.reference.sql import inserting, listed
from projector.declare import Projection, Reading, Row
from projector.effects import Doing, do


class Made(NamedTuple):
    """A row that was put into a table, and who is to be told of it."""

    row: Row
    notices: list[Notice]


class Gone(NamedTuple):
    """A row that was taken out of a table, and who is to be told of that."""

    row: Row
    notices: list[Notice]


class Rules(Protocol):
    """How the records of one collection are indexed.

    `insert`, `holder` and `delete` answer with None where nothing was inserted, nobody holds the
    claim, or nothing was deleted. `promotes`: a deleted holder is followed by who lost to it.
    `forgets`: a deleted record's notifications go; `renews`: an updated one's are made anew.
    """

    counts: tuple[Recount, ...]
    promotes: bool
    forgets: bool
    renews: bool

    def read(self, event: Event) -> Item:
        """The record of a create or update. Raises `InvalidRecord`."""
        ...

    def insert(self, item: Item) -> Doing[Made | None]:
        """Puts the record's rows where nothing is in their way."""
        ...

    def holder(self, item: Item, /) -> Doing[str | None]:
        """The uri of the record that holds the claim of this one; it may be itself."""
        ...

    def delete(self, event: Event) -> Doing[Gone | None]:
        """Takes the rows of the event's uri away."""
        ...


Tell = Callable[[Row, Event], list[Notice]]
"""Whom the row that an event put, or took, makes to be told."""


def nobody(_: Row, __: Event) -> list[Notice]:
    """Nobody is told."""
    return []


class TableRules:
    """A collection with a table of its own, as a projection declares it."""

    renews = False

    def __init__(
        self,
        projection: Projection,
        *,
        on_insert: Tell = nobody,
        on_delete: Tell = nobody,
        forgets: bool = False,
        promotes: bool = True,
    ) -> None:
        self.table = table = projection.table
        self.counts = counts_of(projection)
        self.promotes = promotes
        self.forgets = forgets
        self._on_insert = on_insert
        self._on_delete = on_delete
        self.read = reader(Reading(projection.record, projection.row))
        self._insert = f"{inserting(table.name, table.columns)} RETURNING uri"
        self._delete = (
            f'DELETE FROM "{table.name}" WHERE uri = $1 RETURNING {listed(table.columns)}'
        )
        unique = table.unique or ()
        claimed = " AND ".join(f'"{name}" = ${n}' for n, name in enumerate(unique, 1))
        self._holder = f'SELECT uri FROM "{table.name}" WHERE {claimed}' if unique else None
        self._claim = [table.columns.index(name) for name in unique]

    def insert(self, item: Item) -> Doing[Made | None]:
        """See `Rules`."""
        row = item.row
        if row is None or not (yield from do(self._insert, *row[: len(self.table.columns)])):
            return None
        return Made(row, self._on_insert(row, item.event))

    def holder(self, item: Item) -> Doing[str | None]:
        """See `Rules`."""
        if self._holder is None or item.row is None:
            return None
        rows = yield from do(self._holder, *(item.row[at] for at in self._claim))
        return str(rows[0][0]) if rows else None

    def delete(self, event: Event) -> Doing[Gone | None]:
        """See `Rules`."""
        for found in (yield from do(self._delete, event.uri)):
            row = tuple(found)
            return Gone(row, self._on_delete(row, event))
        return None


class RecordOnlyRules:
    """A collection whose records are in `record` alone: to put and to take them always succeeds,
    under the one record key that counts."""

    counts: tuple[Recount, ...] = ()
    promotes = True
    forgets = False
    renews = False

    def __init__(self, reading: Reading, rkey: str) -> None:
        def row(event: Event, record: Any) -> Row:
            reading.row(event, record)
            return ()

        self.read = reader(Reading(reading.record, row))
        self._rkey = rkey

    def insert(self, item: Item) -> Doing[Made | None]:
        """See `Rules`."""
        yield from ()
        return Made((), []) if item.event.rkey == self._rkey else None

    def holder(self, _: Item) -> Doing[str | None]:
        """See `Rules`."""
        yield from ()
        return None

    def delete(self, event: Event) -> Doing[Gone | None]:
        """See `Rules`."""
        yield from ()
        return Gone((), []) if event.rkey == self._rkey else None
