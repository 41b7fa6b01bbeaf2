"""Formation: projectors that catch up side by side stay near each other."""

from __future__ import annotations

import asyncio
from typing import Final

AHEAD_WINDOWS: Final = 1
"""How far ahead of the slowest a projector waits for it, in windows."""
APART_WINDOWS: Final = 4
"""Beyond this distance two projectors are not in formation: neither waits for the other."""
HOLD_SECONDS_MAX: Final = 10.0


class Formation:
    """Where the projectors of a daemon are; has those ahead wait for the slowest, for a while.

    Near each other they share each block that is read of the log, so that it is read and parsed
    once and few blocks are in memory; and the slowest, on which the end of a catch-up hangs, has
    the machine's cores for itself when the others are through with their window.

    Nobody is held at the log's head, nor by one that is far behind, nor longer than
    `hold_seconds_max` a window. So one that is stuck delays the others' catch-up for a few windows,
    until they are out of its sight, and their live windows not at all (invariant 10).
    """

    def __init__(self, window_events: int, *, hold_seconds_max: float = HOLD_SECONDS_MAX) -> None:
        self._ahead = AHEAD_WINDOWS * window_events
        self._apart = APART_WINDOWS * window_events
        self._hold_seconds_max = hold_seconds_max
        self._places: dict[str, int] = {}
        self._moved = asyncio.Event()

    def at(self, name: str, checkpoint: int) -> None:
        """Says where a projector is."""
        self._places[name] = checkpoint
        self._wake()

    def left(self, name: str) -> None:
        """Says that a projector runs no more."""
        self._places.pop(name, None)
        self._wake()

    async def hold(self, name: str, through: int, head: int) -> None:
        """Waits before applying a window up to `through` while `name` is too far ahead."""
        if through >= head or not self._is_ahead(name):
            return
        try:
            async with asyncio.timeout(self._hold_seconds_max):
                while self._is_ahead(name):
                    await self._moved.wait()
        except TimeoutError:
            return

    def _is_ahead(self, name: str) -> bool:
        place = self._places[name]
        return any(self._ahead <= place - other < self._apart for other in self._places.values())

    def _wake(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()
