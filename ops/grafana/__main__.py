"""`python -m ops.grafana` writes the dashboard: each row answers a question, top to bottom."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "dashboards/projector.json"
SOURCE = {"type": "prometheus", "uid": "projector"}
COLUMNS = 24
HEIGHT = 7


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: queries by legend, and what it shows. `kind` is timeseries or stat; a stat is
    red from `bad` on."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    kind: str = "timeseries"
    bad: float | None = None
    says: str = ""


ROWS: dict[str, Sequence[Panel]] = {
    "Is anything behind?": (
        Panel("The worst lag", {"": "max(projector_lag_seconds)"}, "s", "stat", 60,
              "Age of the oldest event that is not applied."),
        Panel("Projections run by nobody",
              {"": "count(max by (projection) (projector_projection_owned) == 0) or vector(0)"},
              kind="stat", bad=1),
        Panel("Lag by projection",
              {"{{projection}}": "max by (projection) (projector_lag_seconds)"}, "s"),
        Panel("Events applied",
              {"{{projection}}": "max by (projection) (rate(projector_applied_events_total[1m]))"},
              "cps"),
    ),
    "Is everything coming in?": (
        Panel("Silent for", {"{{source}}": "max by (source) (projector_source_idle_seconds)"}, "s",
              "stat", 60, "How long ago each source brought anything."),
        Panel("Events appended",
              {"{{source}}": "max by (source) (rate(projector_source_events_total[1m]))"}, "cps"),
        Panel("Source against the clock",
              {"{{source}}": "max by (source) (projector_source_lag_seconds)"}, "s"),
        Panel("Not appended", {
            "repeats of {{source}}": "sum by (source) (rate(projector_duplicates_total[5m]))",
            "unwanted, {{source}}": "sum by (source) (rate(projector_skipped_total[5m]))",
            "undecodable, {{source}}": "sum by (source) (rate(projector_undecodable_total[5m]))",
        }, "cps"),
        Panel("Connections lost",
              {"{{source}}": "sum by (source) (increase(projector_reconnects_total[15m]))"}),
        Panel("Redis", {
            "entries, {{stream}}": "max by (stream) (projector_redis_stream_entries)",
            "pending, {{stream}}": "max by (stream) (projector_redis_stream_pending)",
        }),
    ),
    "Are counts proven?": (
        Panel("Differences", {"": "max(projector_audit_differences)"}, kind="stat", bad=1),
        Panel("Proven in this round",
              {"": "max(projector_audit_proven_accounts) / max(projector_audit_accounts)"},
              "percentunit", "stat"),
        Panel("Accounts", {
            "known": "max(projector_audit_accounts)",
            "proven in this round": "max(projector_audit_proven_accounts)",
        }),
        Panel("Dead letters", {
            "{{of}}, {{reason}}": "max by (of, reason) (projector_dead_letters)",
        }),
        Panel("Deltas waiting", {
            "{{aggregate}}": "max by (aggregate) (projector_outbox_rows)",
        }, says="Stored counter + waiting deltas = count(*), at any instant."),
    ),
    "What is it waiting for?": (
        Panel("The database was read", {"{{instance}}": "projector_database_read_age_seconds"}, "s",
              "stat", 30, "How long ago; a daemon that cannot read it shows old values."),
        Panel("Nine of ten windows take", {
            "{{projection}}": "histogram_quantile(0.9, sum by (projection, le)"
            " (rate(projector_window_seconds_bucket[5m])))",
        }, "s"),
        Panel("Nine of ten appends take", {
            "{{source}}": "histogram_quantile(0.9, sum by (source, le)"
            " (rate(projector_append_seconds_bucket[5m])))",
        }, "s"),
        Panel("Nine of ten merges take", {
            "{{aggregate}}": "histogram_quantile(0.9, sum by (aggregate, le)"
            " (rate(projector_merge_seconds_bucket[5m])))",
        }, "s"),
        Panel("Tried again", {
            "{{work}}": "sum by (work) (increase(projector_retries_total[5m]))",
        }),
        Panel("Connections", {"{{role}}": "max by (role) (projector_connections)"}),
        Panel("Processor", {"{{instance}}": "rate(process_cpu_seconds_total[1m])"}, "percentunit"),
        Panel("Memory", {"{{instance}}": "process_resident_memory_bytes"}, "bytes"),
    ),
    "Will the disk last?": (
        Panel("In use", {"": "max(projector_database_bytes) / scalar(projector:disk_bytes)"},
              "percentunit", "stat", 0.9, "Of projector:disk_bytes in the alerts' rules."),
        Panel("In four days", {
            "": "predict_linear(max(projector_database_bytes)[6h:5m], 345600)"
            " / scalar(projector:disk_bytes)",
        }, "percentunit", "stat", 1),
        Panel("On disk", {
            "database": "max(projector_database_bytes)",
            "log, live": "max(projector_log_bytes)",
            "log, archived": "max(projector_log_archive_bytes)",
        }, "bytes"),
        Panel("Room in the log", {
            "offsets that have a partition": "max(projector_log_room_events)",
        }),
        Panel("Rebuilds", {"{{projection}}": "max by (projection) (projector_rebuild_ratio)"},
              "percentunit"),
    ),
}  # fmt: skip


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana imports it."""
    return {
        "uid": "projector",
        "title": "Projector",
        "schemaVersion": 38,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "panels": list(_panels()),
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for question, panels in ROWS.items():
        place = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        number, top = number + 1, top + 1
        yield {"id": number, "type": "row", "title": question, "collapsed": False,
               "gridPos": place, "panels": []}  # fmt: skip
        x = 0
        for panel in panels:
            width = 4 if panel.kind == "stat" else 8
            if x + width > COLUMNS:
                x, top = 0, top + HEIGHT
            number += 1
            yield _panel(panel, number, {"x": x, "y": top, "w": width, "h": HEIGHT})
            x += width
        top += HEIGHT


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad is not None:
        steps.append({"color": "red", "value": panel.bad})
    targets = [
        {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": query, "legendFormat": legend}
        for i, (legend, query) in enumerate(panel.queries.items())
    ]
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.says,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
            },
            "overrides": [],
        },
    }


def text() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
