"""The metrics in Prometheus' text format: what this process counted, and the last observation."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CollectorRegistry,
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from projector import __version__, metrics, tally
from projector.metrics import PREFIX, SECONDS, Metric
from projector.observer import Observation, Observer
from projector.status import Status
from projector.tally import COUNTED, Buckets, Durations

Values = list[tuple[tuple[str, ...], float]]

BOUNDS: Final = (*(f"{bound:g}" for bound in SECONDS), "+Inf")


class OurCollector(Collector):
    """Gives all that an observer last saw, and all that was counted; never waits."""

    def __init__(self, observer: Observer) -> None:
        self.observer = observer

    def collect(self) -> Iterator[Family]:
        """One family a metric of the catalogue; of what this process does not know, none."""
        yield _family(metrics.INFO, [((__version__,), 1.0)])
        yield _family(metrics.UP_SECONDS, [((), time.time() - self.observer.begun_at)])
        for counted in COUNTED:
            if isinstance(counted, Durations):
                yield _histogram(counted)
            else:
                values = list(counted.values.items())
                # A counter without labels is there from the start, so that its rise is seen.
                none: Values = [((), 0.0)] if not counted.metric.labels else []
                yield _family(counted.metric, values or none)
        if self.observer.latest is not None:
            yield from _observed(self.observer.latest)
        yield from _streams(self.observer)


class Exposition:
    """Renders the metrics of one process, in the form that a scraper asks for."""

    def __init__(self, observer: Observer) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(OurCollector(observer))
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The text and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type


def _family(metric: Metric, values: Values) -> Family:
    name, labels = PREFIX + metric.name, metric.labels
    family: GaugeMetricFamily | CounterMetricFamily
    if metric.kind == "counter":
        family = CounterMetricFamily(name, metric.meaning, labels=labels)
    else:
        family = GaugeMetricFamily(name, metric.meaning, labels=labels)
    for of, value in values:
        family.add_metric(of, value)
    return family


def _histogram(durations: Durations) -> Family:
    metric = durations.metric
    family = HistogramMetricFamily(PREFIX + metric.name, metric.meaning, labels=metric.labels)
    for of, buckets in list(durations.values.items()):
        family.add_metric(of, _buckets(buckets), buckets.total)
    return family


def _buckets(buckets: Buckets) -> list[tuple[str, float] | tuple[str, float, Exemplar]]:
    counts = zip(BOUNDS, accumulate(buckets.counts), strict=True)
    return [_bucket(*pair, buckets.exemplars.get(i)) for i, pair in enumerate(counts)]


def _bucket(
    bound: str, count: int, traced: tally.Exemplar | None
) -> tuple[str, float] | tuple[str, float, Exemplar]:
    if traced is None:
        return bound, count
    return bound, count, Exemplar({"trace_id": traced.trace_id}, traced.value, traced.at)


def _observed(seen: Observation) -> Iterator[Family]:
    status, log = seen.status, seen.log
    single: dict[Metric, float] = {
        metrics.READ_AGE: time.time() - seen.at,
        metrics.READ_SECONDS: seen.seconds,
        metrics.HEAD: status.head,
        metrics.LOG_BYTES: log.bytes,
        metrics.ARCHIVE_BYTES: log.archive_bytes,
        metrics.DATABASE_BYTES: log.database_bytes,
        metrics.PARTITIONS: log.partitions,
        metrics.AHEAD: log.partitions_ahead,
        metrics.ROOM: log.room_events,
        metrics.AUDIT_ACCOUNTS: status.audit.accounts,
        metrics.AUDIT_PROVEN: status.audit.proven,
        metrics.AUDIT_DIFFERENCES: status.audit.differences,
    }
    if seen.disk is not None:
        single |= {
            metrics.DISK_FREE: seen.disk.free_bytes,
            metrics.DISK_BYTES: seen.disk.total_bytes,
        }
    for metric, value in single.items():
        yield _family(metric, [((), value)])
    for metric, values in (_labelled(seen) | _complete(seen.status)).items():
        yield _family(metric, values)


def _complete(status: Status) -> dict[Metric, Values]:
    silent = Counter(silence.source for silence in status.silences)
    found: dict[Metric, Values] = {
        metrics.SILENCES: [((s.name,), silent[s.name]) for s in status.sources if s.is_in_use],
        metrics.SILENT_SECONDS: [((s.source, s.collection), s.seconds) for s in status.silences],
    }
    if status.probe is not None:
        shares = [((s.collection,), s) for s in status.probe.shares]
        found[metrics.COMPLETE] = [(of, s.complete_ratio) for of, s in shares]
        found[metrics.PROBE_SEEN] = [(of, s.seen_total) for of, s in shares]
        found[metrics.PROBE_MISSING] = [(of, s.missing_total) for of, s in shares]
        found[metrics.PROBE_AGE] = [((), status.probe.age_seconds)]
    return found


def _labelled(seen: Observation) -> dict[Metric, Values]:
    status = seen.status
    projections = [((p.name,), p) for p in status.projections]
    sources = [((s.name,), s) for s in status.sources]
    builds = [((b.name,), b) for b in status.rebuilds]
    failed = {failure.projection: failure.attempts for failure in seen.failures}
    return {
        metrics.FAILED: [(of, failed.get(p.name, 0)) for of, p in projections],
        metrics.CHECKPOINT: [(of, p.checkpoint) for of, p in projections],
        metrics.APPLIED: [(of, p.events) for of, p in projections],
        metrics.LAG_EVENTS: [(of, p.lag_events) for of, p in projections],
        metrics.LAG_SECONDS: [(of, p.lag_seconds) for of, p in projections],
        metrics.VERSION: [(of, p.version) for of, p in projections],
        metrics.OWNED: [(of, float(p.owner is not None)) for of, p in projections],
        metrics.OUTBOX: [(of, p.pending_rows) for of, p in projections if p.kind == "aggregate"],
        metrics.SOURCE_EVENTS: [(of, s.events) for of, s in sources],
        metrics.SOURCE_IDLE: [(of, s.idle_seconds) for of, s in sources],
        metrics.SOURCE_OWNED: [(of, float(s.owner is not None)) for of, s in sources],
        metrics.LETTERS: [((x.where, x.stage, x.reason), x.count) for x in status.dead_letters],
        metrics.REBUILD: [(of, b.checkpoint / max(b.through, 1)) for of, b in builds],
        metrics.REBUILD_OWNED: [(of, float(b.owner is not None)) for of, b in builds],
        metrics.CONNECTIONS: [((role,), n) for role, n in seen.connections.items()],
    }


def _streams(observer: Observer) -> Iterator[Family]:
    found = [((r.stream,), r) for r in observer.redis]
    known = [(of, r) for of, r in found if r.error is None]
    yield _family(metrics.REDIS_UP, [(of, float(r.error is None)) for of, r in found])
    yield _family(metrics.STREAM_ENTRIES, [(of, r.entries) for of, r in known])
    yield _family(metrics.STREAM_PENDING, [(of, r.pending) for of, r in known])
    yield _family(metrics.REDIS_BYTES, [(of, r.memory_bytes) for of, r in known])
    yield _family(metrics.REDIS_BYTES_MAX, [(of, r.memory_max_bytes) for of, r in known])
