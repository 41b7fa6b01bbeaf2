"""A clock that goes only when told to."""

from __future__ import annotations


class Clock:
    """Give it in place of `time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now
