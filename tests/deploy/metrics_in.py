"""Which metrics and labels a PromQL expression asks for, against the catalogue."""

from __future__ import annotations

import re

from projector.metrics import METRICS, PREFIX

OF_PROMETHEUS = {
    "up": {"job"},
    "process_resident_memory_bytes": set[str](),
    "process_cpu_seconds_total": set[str](),
    "process_open_fds": set[str](),
}
"""Those of every scraped process, as far as we use them."""

EVERYWHERE = {"instance", "job", "le"}
RECORDED = {"projector:disk_bytes"}

NAME = re.compile(r"\b(?:projector[_:]\w+|" + "|".join(OF_PROMETHEUS) + r")\b")
GROUPED = re.compile(r"\b(?:by|without|on|ignoring) \(([^)]*)\)")
MATCHED = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"")


def labels_of() -> dict[str, set[str]]:
    """By name, as queries have it, the labels of a metric."""
    known = dict(OF_PROMETHEUS)
    for metric in METRICS:
        ends = ("_bucket", "_sum", "_count") if metric.kind == "histogram" else ("",)
        for end in ends:
            known[metric.full_name + end] = set(metric.labels)
    return known


def unknown_in(expression: str) -> list[str]:
    """The metrics that the catalogue has not, and the labels that none of those named has."""
    known = labels_of()
    names = set(NAME.findall(expression)) - RECORDED
    wrong = sorted(names - known.keys())
    labels = EVERYWHERE.union(*(known.get(name, set()) for name in names))
    asked = {label.strip() for group in GROUPED.findall(expression) for label in group.split(",")}
    asked |= set(MATCHED.findall(expression))
    assert names or "vector(" in expression, f"no metric of ours ({PREFIX}…) in {expression}"
    return wrong + sorted(asked - labels - {""})
