"""Formation: projectors that catch up side by side stay near each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

AHEAD_WINDOWS: Final = 1
"""How far ahead of the slowest a projector waits for it, in windows."""
APART_WINDOWS: Final = 4
"""Beyond this distance two projectors are not in formation: neither waits for the other."""
PATIENCE: Final = 3.0
"""How much longer than its last window one may take before nobody waits for it, in times."""
PATIENCE_SECONDS_MIN: Final = 1.0
PATIENCE_SECONDS_MAX: Final = 10.0


@dataclass(slots=True)
class _Place:
    checkpoint: int
    since: float
    patience_seconds: float


class Formation:
    """Where the projectors of a daemon are; has those ahead wait for the slowest, for a while.

    Near each other they share each block that is read of the log, so that it is read and parsed
    once and few blocks are in memory; and the slowest, on which the end of a catch-up hangs, has
    the machine's cores for itself when the others are through with their window.

    Nobody is held at the log's head, nor by one that is far behind, nor by one that is stuck: that
    takes several times as long as for its last window. So a blocked projection delays the others
    once, for a second or a few, while they catch up, and never while they are live (invariant 10).
    """

    def __init__(self, window_events: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ahead = AHEAD_WINDOWS * window_events
        self._apart = APART_WINDOWS * window_events
        self._clock = clock
        self._places: dict[str, _Place] = {}
        self._moved = asyncio.Event()

    def at(self, name: str, checkpoint: int) -> None:
        """Says where a projector is."""
        now, before = self._clock(), self._places.get(name)
        took = now - before.since if before else 0.0
        patience = min(max(PATIENCE * took, PATIENCE_SECONDS_MIN), PATIENCE_SECONDS_MAX)
        self._places[name] = _Place(checkpoint, now, patience)
        self._wake()

    def left(self, name: str) -> None:
        """Says that a projector runs no more."""
        self._places.pop(name, None)
        self._wake()

    async def hold(self, name: str, through: int, head: int) -> None:
        """Waits before applying a window up to `through` while `name` is too far ahead."""
        while through < head and (seconds := self._seconds_to_wait(name)) > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._moved.wait()
            except TimeoutError:
                continue

    def _seconds_to_wait(self, name: str) -> float:
        """How long the one behind that is waited for longest may still take; 0: there is none."""
        at, now = self._places[name].checkpoint, self._clock()
        return max(
            (
                other.since + other.patience_seconds - now
                for other in self._places.values()
                if self._ahead <= at - other.checkpoint < self._apart
            ),
            default=0.0,
        )

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
