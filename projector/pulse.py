"""Whether the loops that do the work get on: what a supervisor and `/health` are told.

A loop is watched while it lasts. It gets on when a server answers it, when it tries again after
transient trouble, or when it has nothing to do: idle, standing by, waiting for a source. One that
has something to do, and of which nothing is heard for longer than any answer may take, is stuck:
then the process is of no use, and only a new one is.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

MARGIN_SECONDS: Final = 60.0
"""How much longer than one command may take a loop may be silent."""

Clock = Callable[[], float]


@dataclass(slots=True, eq=False)
class Loop:
    """One loop: `signs` are the names under which something is heard of it."""

    name: str
    has_work: Callable[[], bool]
    signs: tuple[str, ...]
    busy_since: float | None = None


class Pulse:
    """The loops of one process, and when each sign was heard last."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._loops: list[Loop] = []

    def beat(self, sign: str) -> None:
        """Says that something goes on."""
        self._heard[sign] = self._clock()

    @property
    def is_watching(self) -> bool:
        """Whether any loop runs."""
        return bool(self._loops)

    @contextmanager
    def watched(self, name: str, has_work: Callable[[], bool], *signs: str) -> Iterator[None]:
        """Watches a loop as long as it lasts."""
        loop = Loop(name, has_work, signs)
        self._loops.append(loop)
        try:
            yield
        finally:
            self._loops.remove(loop)

    def stuck(self, seconds: float) -> list[str]:
        """The loops that have something to do and were not heard of for so long.

        Counted from the first call that finds one busy: whoever asks asks again.
        """
        now = self._clock()
        return [loop.name for loop in self._loops if now - self._since(loop, now) > seconds]

    def _since(self, loop: Loop, now: float) -> float:
        if not loop.has_work():
            loop.busy_since = None
            return now
        if loop.busy_since is None:
            loop.busy_since = now
        return max([loop.busy_since, *(self._heard.get(sign, 0.0) for sign in loop.signs)])


PULSE: Final = Pulse()
"""Of this process."""
