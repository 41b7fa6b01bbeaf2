"""The turns of `ops.bench.data_size`: windows for the engine, and rows for the floor beside it.

The events of a generated firehose, in its order, each turn's by accounts of its own: so a turn does
the same to tables that have had others as to those that have not. What is done *again* is done by
neighbours of the accounts that did it: their keys lie beside the first ones, so that the same pages
are written, and none is seen for the first time. The floor's rows are of events of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Final

import msgspec

from events.event import Event
from events.generate import Generator
from projector.declare import Projection, Row
from projector.fold import BAD_RECORD

LETTERS: Final = "234567abcdefghijklmnopqrstuvwxyz"
FIRST, AGAIN, FLOOR, FLOOR_AGAIN = range(4)
KINDS: Final = 4
TURNS_MAX: Final = len(LETTERS) ** 2 // KINDS

Rows = dict[str, list[Row]]
"""New rows by collection, in the order of their keys."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Windows in their order: `warm`, then `windows`, then `again`. The floor's for as many."""

    warm: list[Event]
    windows: list[list[Event]]
    again: list[list[Event]]
    floor: list[Rows]
    floor_again: list[Rows]


def neighbour(event: Event, steps: int) -> Event:
    """The same done by an account whose DID is so many steps on, in its last two letters."""
    high, low = map(LETTERS.index, event.did[-2:])
    high, low = divmod((high * len(LETTERS) + low + steps) % len(LETTERS) ** 2, len(LETTERS))
    return msgspec.structs.replace(event, did=event.did[:-2] + LETTERS[high] + LETTERS[low])


class Turns:
    """Makes turn after turn, each when it is asked for, out of one generated firehose."""

    def __init__(
        self,
        projections: Sequence[Projection],
        seed: int,
        accounts: int,
        *,
        warm_events: int,
        windows: int,
        window_events: int,
    ) -> None:
        self._warm_events = warm_events
        self._windows = windows
        self._window_events = window_events
        self._stream = Generator(seed, accounts).events()
        self._offset = 0
        self._floor = {p.collection: FloorRows(p) for p in projections}

    def __iter__(self) -> Iterator[Turn]:
        """The turns: at most TURNS_MAX."""
        for steps in range(0, TURNS_MAX * KINDS, KINDS):
            warm = self._events(self._warm_events)
            windows = [self._events(self._window_events) for _ in range(self._windows)]
            floor = [self._events(self._window_events) for _ in range(self._windows)]
            yield Turn(
                self._placed(warm, steps + FIRST),
                [self._placed(window, steps + FIRST) for window in windows],
                [self._placed(window, steps + AGAIN) for window in windows],
                [self._rows(window, steps + FLOOR) for window in floor],
                [self._rows(window, steps + FLOOR_AGAIN) for window in floor],
            )

    def _events(self, count: int) -> list[Event]:
        return list(islice(self._stream, count))

    def _placed(self, events: Sequence[Event], steps: int) -> list[Event]:
        """The events of neighbours, with the offsets that come next."""
        after, self._offset = self._offset, self._offset + len(events)
        return [
            msgspec.structs.replace(neighbour(event, steps), log_offset=after + i)
            for i, event in enumerate(events, 1)
        ]

    def _rows(self, events: Sequence[Event], steps: int) -> Rows:
        return {
            collection: made.rows(
                [neighbour(e, steps) for e in events if e.collection == collection]
            )
            for collection, made in self._floor.items()
        }


class FloorRows:
    """Makes the rows that windows leave in one table, if nothing was there before them."""

    def __init__(self, projection: Projection) -> None:
        self._decode = projection.decoder()
        table = projection.table
        self._claim = itemgetter(*map(table.columns.index, table.unique or ("uri",)))
        self._claimed: set[object] = set()

    def rows(self, events: Sequence[Event]) -> list[Row]:
        """The rows of what the events create and do not delete, the first of each claim."""
        rows: dict[str, Row] = {}
        for event in events:
            if event.action == "delete":
                rows.pop(event.uri, None)
            elif event.action == "create":
                try:
                    rows[event.uri] = self._decode(event)
                except BAD_RECORD:
                    continue
        return [rows[uri] for uri in sorted(rows) if self._is_first(rows[uri])]

    def _is_first(self, row: Row) -> bool:
        claim = self._claim(row)
        if claim in self._claimed:
            return False
        self._claimed.add(claim)
        return True
