"""An hour of samples for the plots of the status page, in memory and bounded."""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from projector import tally
from projector.status import Status
from projector.tally import Durations

KEPT_SECONDS: Final = 3_600.0
SAMPLES_MAX: Final = 3_600


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One moment: rates since the sample before, and how late everything is.

    What is applied is what the last of the projections has applied.

    `window_seconds` is how long a window took on average since then, of those that this process
    applied; `source_lag_seconds` how old the newest event of its sources was when it was appended.
    Both are None where this process did no such thing.
    """

    at: float
    appended_per_second: float
    applied_per_second: float
    lag_seconds: float
    window_seconds: float | None
    source_lag_seconds: float | None


class Samples:
    """The samples of the last hour, the oldest first."""

    def __init__(self, seconds: float) -> None:
        self.kept: deque[Sample] = deque(maxlen=min(SAMPLES_MAX, int(KEPT_SECONDS / seconds) + 1))
        self._before: tuple[float, int, int] | None = None
        self._windows = (0, 0.0)

    def take(self, at: float, status: Status) -> None:
        """Takes one; the first look gives none, since it has no rate."""
        tables = [p.checkpoint for p in status.projections if p.kind == "table"]
        applied = min(tables, default=status.head)
        before, self._before = self._before, (at, status.head, applied)
        window_seconds = self._window_seconds()
        if before is None or at <= before[0]:
            return
        seconds = at - before[0]
        self.kept.append(
            Sample(
                at=round(at, 1),
                appended_per_second=round((status.head - before[1]) / seconds, 1),
                # A projection that is new begins anew.
                applied_per_second=round(max(applied - before[2], 0) / seconds, 1),
                lag_seconds=max((p.lag_seconds for p in status.projections), default=0.0),
                window_seconds=window_seconds,
                source_lag_seconds=round(max(lags), 3) if (lags := _lags()) else None,
            )
        )

    def _window_seconds(self) -> float | None:
        count, total = _sum(tally.WINDOW_SECONDS)
        (count_before, total_before), self._windows = self._windows, (count, total)
        if count == count_before:
            return None
        return round((total - total_before) / (count - count_before), 4)


def _sum(durations: Durations) -> tuple[int, float]:
    values = durations.values.values()
    return sum(sum(b.counts) for b in values), sum(b.total for b in values)


def _lags() -> list[float]:
    return list(tally.SOURCE_LAG.values.values())
