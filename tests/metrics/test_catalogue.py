"""The catalogue of metrics: complete, in Prometheus' manners, and the page that is made from it."""

from __future__ import annotations

import re

from prometheus_client.parser import text_string_to_metric_families

from projector import tally
from projector.exposition import Exposition
from projector.metrics import METRICS, page
from projector.observer import Observer
from tests.style.test_style import ROOT

# Prometheus: base units, in the plural, at the end of the name.
UNITS = {"seconds": "_seconds", "bytes": "_bytes"}


def test_the_page_is_what_the_catalogue_says() -> None:
    assert (ROOT / "ops/METRICS.md").read_text("utf-8") == page(), "make metrics"


def test_every_metric_is_named_once_and_says_what_it_means() -> None:
    names = [metric.full_name for metric in METRICS]
    assert len(set(names)) == len(names) > 40
    assert [name for name in names if not re.fullmatch(r"projector_[a-z_]+", name)] == []
    assert [metric.name for metric in METRICS if not metric.meaning.endswith(".")] == []


def test_names_end_with_their_units() -> None:
    wrong = [
        metric.name
        for metric in METRICS
        for unit, end in UNITS.items()
        if metric.unit == unit and not metric.name.endswith(end)
    ]
    assert wrong == []


def test_all_that_is_counted_is_in_the_catalogue_and_the_other_way_round() -> None:
    counted = {counter.metric for counter in tally.COUNTED}
    assert len(counted) == len(tally.COUNTED)
    assert counted <= set(METRICS)
    told = {"info", "up_seconds", "database_read_age_seconds", "database_read_seconds"}
    process = {metric for metric in METRICS if metric.source == "process"}
    assert {metric.name for metric in process - counted} == told


def test_a_process_that_has_done_nothing_has_metrics_already() -> None:
    text, content_type = Exposition(Observer(None, [])).render("")
    assert content_type.startswith("text/plain")
    names = {family.name for family in text_string_to_metric_families(text.decode())}
    assert {"projector_info", "projector_windows", "process_resident_memory_bytes"} <= names


def test_labels_are_bounded_whatever_comes_in() -> None:
    numbers = tally.Numbers(METRICS[0])
    for n in range(tally.LABELS_MAX + 500):
        numbers.add(1, "source", f"reason {n}")
    assert len(numbers.values) == tally.LABELS_MAX + 1
    assert numbers.values["other", "other"] == 500
    assert sum(numbers.values.values()) == tally.LABELS_MAX + 500
