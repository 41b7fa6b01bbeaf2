"""The catalogue of metrics: what each is called, counts and means. Pure.

`python -m projector.metrics` prints the page `ops/METRICS.md`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Final, Literal

PREFIX: Final = "projector_"

Kind = Literal["counter", "gauge", "histogram"]
From = Literal["process", "database", "redis"]

SECONDS: Final = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
)
"""Upper bounds of the histograms' buckets: from a window at the log's tail to a stuck one."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `zero` says that anything but 0 is a reason to look.

    `source` is where its values come from: this process counted them, or somebody's work left them
    in the database or in Redis, so that every process that is asked gives the same.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    meaning: str
    zero: bool = False
    source: From = "process"

    @property
    def full_name(self) -> str:
        """The name as Prometheus has it in queries."""
        return PREFIX + self.name + ("_total" if self.kind == "counter" else "")


def _counter(
    name: str, unit: str, labels: tuple[str, ...], meaning: str, zero: bool = False
) -> Metric:
    return Metric(name, "counter", unit, labels, meaning, zero)


def _seconds(name: str, labels: tuple[str, ...], meaning: str) -> Metric:
    return Metric(name, "histogram", "seconds", labels, meaning)


def _stored(
    name: str,
    unit: str,
    labels: tuple[str, ...],
    meaning: str,
    *,
    zero: bool = False,
    kind: Kind = "gauge",
    source: From = "database",
) -> Metric:
    return Metric(name, kind, unit, labels, meaning, zero, source)


BY_SOURCE: Final = ("source",)
BY_PROJECTION: Final = ("projection",)
BY_AGGREGATE: Final = ("aggregate",)
BY_STREAM: Final = ("stream",)
BY_COLLECTION: Final = ("collection",)

INFO: Final = Metric("info", "gauge", "1", ("version",), "Always 1; the program's version.")
UP_SECONDS: Final = Metric("up_seconds", "gauge", "seconds", (), "Since when this process runs.")

APPENDS: Final = _counter(
    "appends", "transactions", BY_SOURCE, "Batches put into the log or a stream."
)
APPENDED: Final = _counter("appended_events", "events", BY_SOURCE, "Events put there.")
RECEIVED: Final = _counter(
    "received_bytes", "bytes", BY_SOURCE, "Size of the messages they came in."
)
APPEND_SECONDS: Final = _seconds(
    "append_seconds", BY_SOURCE, "How long one batch took to be durable."
)
DUPLICATES: Final = _counter("duplicates", "events", BY_SOURCE, "Repeats that were left out.")
SKIPPED: Final = _counter(
    "skipped", "messages", ("source", "reason"), "Messages that are not wanted."
)
UNDECODABLE: Final = _counter(
    "undecodable",
    "messages",
    ("source", "reason"),
    "Messages nobody can read, now dead letters.",
    True,
)
RECONNECTS: Final = _counter(
    "reconnects", "connections", BY_SOURCE, "How often the connection to a source was lost."
)
SOURCE_LAG: Final = Metric(
    "source_lag_seconds", "gauge", "seconds", BY_SOURCE,
    "Our clock less the time of the newest event appended last, when it was appended.",
)  # fmt: skip
LAST_APPEND: Final = Metric(
    "last_append_timestamp_seconds", "gauge", "seconds since 1970", BY_SOURCE,
    "When a batch was last put there: now less this is how long a source is silent.",
)  # fmt: skip

WINDOWS: Final = _counter("windows", "windows", BY_PROJECTION, "Windows that were applied.")
WINDOW_EVENTS: Final = _counter("window_events", "events", BY_PROJECTION, "Events in them.")
ROWS: Final = _counter(
    "rows", "rows", ("projection", "change"), "Rows that were really inserted or deleted."
)
DELTAS: Final = _counter("deltas", "deltas", BY_PROJECTION, "Changes of counters handed on.")
WINDOW_SECONDS: Final = _seconds(
    "window_seconds", BY_PROJECTION, "How long one window took; with a trace as exemplar."
)
LETTERS_MADE: Final = _counter(
    "dead_letters_made",
    "events",
    ("projection", "reason"),
    "Events that could not be applied.",
    True,
)
MERGES: Final = _counter("merges", "transactions", BY_AGGREGATE, "Merges of deltas into counters.")
MERGED: Final = _counter("merged_deltas", "deltas", BY_AGGREGATE, "Deltas merged.")
MERGE_SECONDS: Final = _seconds("merge_seconds", BY_AGGREGATE, "How long one merge took.")
RETRIES: Final = _counter(
    "retries", "attempts", ("work",), "Attempts made again after transient trouble.", True
)

HEAD: Final = _stored("log_head_offset", "offset", (), "The log's highest offset.")
LOG_BYTES: Final = _stored(
    "log_bytes", "bytes", (), "The log's live partitions on disk, with indexes."
)
ARCHIVE_BYTES: Final = _stored("log_archive_bytes", "bytes", (), "The log's archived partitions.")
DATABASE_BYTES: Final = _stored("database_bytes", "bytes", (), "The whole database on disk.")
DISK_FREE: Final = _stored(
    "disk_free_bytes", "bytes", (), "Free on the disk of Postgres; none: it cannot be known."
)
DISK_BYTES: Final = _stored("disk_size_bytes", "bytes", (), "The size of that disk.")
PARTITIONS: Final = _stored("log_partitions", "partitions", (), "Live partitions of the log.")
ROOM: Final = _stored(
    "log_room_events", "events", (), "Offsets above the head that have a partition already."
)
AHEAD: Final = _stored(
    "log_partitions_ahead", "partitions", (), "Partitions above the head, empty."
)
CHECKPOINT: Final = _stored("checkpoint_offset", "offset", BY_PROJECTION, "Applied through here.")
APPLIED: Final = _stored(
    "applied_events", "events", BY_PROJECTION, "Events or deltas applied, by all daemons.",
    kind="counter",
)  # fmt: skip
LAG_EVENTS: Final = _stored(
    "lag_events", "events", BY_PROJECTION, "The log's head less the checkpoint."
)
LAG_SECONDS: Final = _stored(
    "lag_seconds", "seconds", BY_PROJECTION, "Age of the oldest event that is not applied."
)
VERSION: Final = _stored(
    "projection_version", "version", BY_PROJECTION, "The version of the tables."
)
OWNED: Final = _stored("projection_owned", "0 or 1", BY_PROJECTION, "Whether a daemon runs it.")
FAILED: Final = _stored(
    "failed_attempts",
    "attempts",
    BY_PROJECTION,
    "How often a projection has failed at the place where it still is.",
    zero=True,
)
OUTBOX: Final = _stored(
    "outbox_rows", "rows", BY_AGGREGATE, "Windows' deltas waiting to be merged."
)
SOURCE_EVENTS: Final = _stored(
    "source_events",
    "events",
    BY_SOURCE,
    "Events the log has of it, by all daemons.",
    kind="counter",
)
SOURCE_IDLE: Final = _stored(
    "source_idle_seconds", "seconds", BY_SOURCE, "How long ago anything was appended from it."
)
SOURCE_OWNED: Final = _stored("source_owned", "0 or 1", BY_SOURCE, "Whether somebody ingests it.")
LETTERS: Final = _stored(
    "dead_letters", "letters", ("of", "stage", "reason"), "Dead letters kept.", zero=True
)
AUDIT_ACCOUNTS: Final = _stored("audit_accounts", "accounts", (), "Accounts the audit knows.")
AUDIT_PROVEN: Final = _stored("audit_proven_accounts", "accounts", (), "Proven in this round.")
AUDIT_DIFFERENCES: Final = _stored(
    "audit_differences", "keys", (), "Keys whose rows are not what the log says.", zero=True
)
SILENCES: Final = _stored(
    "silent_collections", "collections", BY_SOURCE,
    "Collections that bring far less than in their past hour and day.", zero=True,
)  # fmt: skip
SILENT_SECONDS: Final = _stored(
    "collection_silent_seconds", "seconds", ("source", "collection"),
    "For how long, of each that does; none: of none.", zero=True,
)  # fmt: skip
COMPLETE: Final = _stored(
    "complete_ratio", "0 to 1", BY_COLLECTION,
    "Of the commits that the last probe saw upstream, those in the log and in the tables.",
)  # fmt: skip
PROBE_SEEN: Final = _stored(
    "probe_seen", "commits", BY_COLLECTION, "Commits that all probes saw.", kind="counter"
)
PROBE_MISSING: Final = _stored(
    "probe_missing", "commits", BY_COLLECTION,
    "Of them those that were not in the log, or whose row was not in its table.",
    kind="counter", zero=True,
)  # fmt: skip
PROBE_AGE: Final = _stored("probe_age_seconds", "seconds", (), "How long ago the last probe ended.")
REBUILD: Final = _stored(
    "rebuild_ratio",
    "0 to 1",
    BY_PROJECTION,
    "How far a rebuild has loaded the log; none: no rebuild.",
)
REBUILD_OWNED: Final = _stored(
    "rebuild_owned", "0 or 1", BY_PROJECTION, "Whether somebody goes on with the rebuild."
)
CONNECTIONS: Final = _stored(
    "connections", "connections", ("role",), "Our connections to this database, of all processes."
)
READ_AGE: Final = Metric(
    "database_read_age_seconds", "gauge", "seconds", (),
    "How old the values from the database are. A scrape never waits for it.",
)  # fmt: skip
READ_SECONDS: Final = Metric(
    "database_read_seconds", "gauge", "seconds", (), "How long reading them took last."
)
READ_FAILURES: Final = _counter(
    "database_read_failures", "reads", (), "Reads of them that failed or took too long.", True
)

STREAM_ENTRIES: Final = _stored(
    "redis_stream_entries", "entries", BY_STREAM, "Entries in the stream.", source="redis"
)
STREAM_PENDING: Final = _stored(
    "redis_stream_pending", "entries", BY_STREAM, "Read by our group, not acknowledged yet.",
    source="redis",
)  # fmt: skip
REDIS_BYTES: Final = _stored(
    "redis_memory_bytes", "bytes", BY_STREAM, "Memory that its server uses.", source="redis"
)
REDIS_BYTES_MAX: Final = _stored(
    "redis_memory_max_bytes", "bytes", BY_STREAM, "Memory it may use; 0: no limit.", source="redis"
)
REDIS_UP: Final = _stored(
    "redis_up", "0 or 1", BY_STREAM, "Whether its server answered the last look.", source="redis"
)

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order of the page."""

HEADER: Final = """\
# Metrics

Written by `make metrics` from the catalogue in `projector/metrics.py`; do not edit.

`run`, `up` and `ingest` answer `http://127.0.0.1:7780/metrics` (setting `status_listen`) in
Prometheus' text format, or in OpenMetrics with exemplars where it is asked for. What one process
counted it counts per window, never per event. What is in the database is read every
`status_seconds`, apart from scrapes: `projector_database_read_age_seconds` says how old it is, and
`ingest` has none of it. Several daemons over one database give the same values of it.

"Look" marks what should be 0, or should not rise.
"""

TITLES: Final[dict[From, str]] = {
    "process": "Counted by this process",
    "database": "Read from the database",
    "redis": "Read from Redis, where a stream is a source or a target",
}


def page() -> str:
    """The catalogue as a Markdown page."""
    parts = [HEADER]
    for source, title in TITLES.items():
        parts.append(
            f"\n## {title}\n\n| name | kind | unit | labels | look | meaning |\n"
            "|---|---|---|---|---|---|\n"
        )
        parts += [_line(metric) for metric in METRICS if metric.source == source]
    return "".join(parts)


def _line(metric: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    look = "look" if metric.zero else ""
    return (
        f"| `{metric.full_name}` | {metric.kind} | {metric.unit} | {labels} | {look} "
        f"| {metric.meaning} |\n"
    )


if __name__ == "__main__":
    sys.stdout.write(page())
