"""What this process has counted: plain numbers, added to once per window, batch or merge.

The client library of Prometheus is imported only where somebody serves them: most commands do
not, and it takes a good part of their start.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from opentelemetry import trace

from projector import metrics
from projector.metrics import SECONDS, Metric

Labels = tuple[str, ...]

LABELS_MAX: Final = 1_000
"""Most label sets of one metric: reasons and names come from a small set, whatever comes in."""

OTHER: Final = "other"


@dataclass(slots=True)
class Exemplar:
    """The last value of a bucket that was traced: its trace, the value, and when (since 1970)."""

    trace_id: str
    value: float
    at: float


@dataclass(slots=True)
class Buckets:
    """The values of one label set: how many in each bucket (the last is beyond all), their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))
    total: float = 0.0
    exemplars: dict[int, Exemplar] = field(default_factory=dict)


class Numbers:
    """The values of a counter or a gauge, by label set."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: dict[Labels, float] = {}

    def add(self, number: float, *labels: str) -> None:
        """Adds to a counter."""
        labels = self._kept(labels)
        self.values[labels] = self.values.get(labels, 0.0) + number

    def set(self, number: float, *labels: str) -> None:
        """Sets a gauge."""
        self.values[self._kept(labels)] = number

    def _kept(self, labels: Labels) -> Labels:
        if labels in self.values or len(self.values) < LABELS_MAX:
            return labels
        return (OTHER,) * len(labels)


class Durations:
    """A histogram of seconds, by label set."""

    def __init__(self, metric: Metric) -> None:
        self.metric = metric
        self.values: defaultdict[Labels, Buckets] = defaultdict(Buckets)

    def add(self, seconds: float, *labels: str, trace_id: str | None = None) -> None:
        """Counts one duration; `trace_id` becomes the exemplar of its bucket."""
        buckets = self.values[labels]
        i = bisect_left(SECONDS, seconds)
        buckets.counts[i] += 1
        buckets.total += seconds
        if trace_id is not None:
            buckets.exemplars[i] = Exemplar(trace_id, seconds, time.time())


def current_trace() -> str | None:
    """The id of the trace under way, where it is recorded and kept."""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid or not context.trace_flags.sampled:
        return None
    return trace.format_trace_id(context.trace_id)


APPENDS: Final = Numbers(metrics.APPENDS)
APPENDED: Final = Numbers(metrics.APPENDED)
RECEIVED: Final = Numbers(metrics.RECEIVED)
APPEND_SECONDS: Final = Durations(metrics.APPEND_SECONDS)
DUPLICATES: Final = Numbers(metrics.DUPLICATES)
SKIPPED: Final = Numbers(metrics.SKIPPED)
UNDECODABLE: Final = Numbers(metrics.UNDECODABLE)
RECONNECTS: Final = Numbers(metrics.RECONNECTS)
SOURCE_LAG: Final = Numbers(metrics.SOURCE_LAG)
LAST_APPEND: Final = Numbers(metrics.LAST_APPEND)
WINDOWS: Final = Numbers(metrics.WINDOWS)
WINDOW_EVENTS: Final = Numbers(metrics.WINDOW_EVENTS)
ROWS: Final = Numbers(metrics.ROWS)
DELTAS: Final = Numbers(metrics.DELTAS)
WINDOW_SECONDS: Final = Durations(metrics.WINDOW_SECONDS)
LETTERS_MADE: Final = Numbers(metrics.LETTERS_MADE)
MERGES: Final = Numbers(metrics.MERGES)
MERGED: Final = Numbers(metrics.MERGED)
MERGE_SECONDS: Final = Durations(metrics.MERGE_SECONDS)
RETRIES: Final = Numbers(metrics.RETRIES)
READ_FAILURES: Final = Numbers(metrics.READ_FAILURES)

COUNTED: Final = tuple(v for v in list(globals().values()) if isinstance(v, (Numbers, Durations)))
"""All that this process counts."""
