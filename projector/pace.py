"""Pace: how many events a window should hold, and how many a second were done."""

from __future__ import annotations

import time
from dataclasses import dataclass


@dataclass(slots=True)
class AdaptiveWindow:
    """The size of the next window, in offsets.

    At the tail a window is whatever has come, so small and at once. Behind, it grows while
    windows stay under `window_seconds`, for throughput; a slow one halves it, so that locks and
    lost work stay small.
    """

    events_max: int
    events_min: int = 500
    window_seconds: float = 2.0
    events: int = 0

    def __post_init__(self) -> None:
        self.events_min = min(self.events_min, self.events_max)
        self.events = self.events or self.events_max

    def took(self, seconds: float) -> None:
        """Learns from the window just applied."""
        if seconds > self.window_seconds:
            self.events = max(self.events // 2, self.events_min)
        elif seconds < self.window_seconds / 4:
            self.events = min(self.events * 2, self.events_max)


class Rate:
    """Events a second, over about the last `seconds`."""

    def __init__(self, seconds: float = 5.0) -> None:
        self.seconds = seconds
        self._since = time.monotonic()
        self._events = 0
        self._rate = 0.0

    def add(self, events: int) -> float:
        """Counts events and returns the rate."""
        now = time.monotonic()
        self._events += events
        elapsed = now - self._since
        if elapsed >= self.seconds:
            self._rate = self._events / elapsed
            self._since, self._events = now, 0
        elif not self._rate and elapsed > 0.2:
            return self._events / elapsed
        return self._rate
