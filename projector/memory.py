"""Memory: how often Python looks for cycles of garbage."""

from __future__ import annotations

import gc
from typing import Final

THRESHOLDS: Final = (50_000, 20, 100)
"""New objects before the youngest are looked at, and how many of those looks before older ones."""


def collect_rarely() -> None:
    """Lets a long run look for cycles rarely; what exists by now is never looked at again.

    Rows and records are tuples, which Python counts as new objects though they are in no cycle:
    with its own thresholds it would look through all that windows hold, many times a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)
