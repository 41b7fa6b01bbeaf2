"""Which accounts gain most, by the rows that this process applied: in memory, bounded, no query."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from projector.declare import Aggregate, Kept, Row

ROWS_MAX: Final = 500
"""Of a window with more new rows so many are looked at: at the log's tail that is all of them."""

SPAN_SECONDS: Final = 600.0
SPANS: Final = 6
KEYS_MAX: Final = 5_000
"""Keys remembered of one span; beyond twice as many the least are forgotten."""


class Mover(msgspec.Struct, frozen=True):
    """A key, and how many new rows counted for it in the last hour."""

    key: str
    gained: int


class Movers:
    """Counts the new rows of one projection by one column, for the hour that has passed.

    `counter` is what the rows are counted in, `of` whose rows they are.
    """

    def __init__(
        self, counter: str, of: str, column: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counter = counter
        self.of = of
        self._column = column
        self._clock = clock
        self._spans: deque[tuple[float, Counter[str]]] = deque(maxlen=SPANS)

    def take(self, rows: Sequence[Row]) -> None:
        """Counts the new rows of a window."""
        if not rows:
            return
        now = self._clock()
        if not self._spans or now - self._spans[-1][0] >= SPAN_SECONDS:
            self._spans.append((now, Counter()))
        begun, counts = self._spans[-1]
        counts.update([str(row[self._column]) for row in rows[:ROWS_MAX]])
        if len(counts) > 2 * KEYS_MAX:
            self._spans[-1] = (begun, Counter(dict(counts.most_common(KEYS_MAX))))

    def top(self, keys: int) -> list[Mover]:
        """The keys that gained most, the first first; of those that gained the same, by name."""
        oldest = self._clock() - SPANS * SPAN_SECONDS
        total: Counter[str] = Counter()
        for begun, counts in self._spans:
            if begun > oldest:
                total.update(counts)
        most = sorted(total.items(), key=lambda pair: (-pair[1], pair[0]))[:keys]
        return [Mover(key, gained) for key, gained in most if gained > 1]


def movers_of(declarations: Sequence[Kept]) -> Movers | None:
    """Movers of the first counter of accounts; None where nothing counts for accounts."""
    for aggregate in declarations:
        if isinstance(aggregate, Aggregate) and aggregate.key == "did":
            name, count = next(iter(aggregate.counters.items()))
            if count.child is None:
                return Movers(name, count.of.name, count.of.table.columns.index(count.by))
    return None
