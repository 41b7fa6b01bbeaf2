"""The dashboard is what its source says, and asks for metrics and labels that there are."""

from __future__ import annotations

import json
import re

import yaml

from ops.grafana.__main__ import FILE, ROWS, text
from tests.deploy.metrics_in import labels_of, unknown_in
from tests.support.nodes import ROOT

GRAFANA = ROOT / "ops/grafana"
PANELS = [panel for panels in ROWS.values() for panel in panels]


def test_the_file_is_what_its_source_says() -> None:
    assert FILE.read_text() == text(), "make dashboards"


def test_rows_ask_questions() -> None:
    assert [row for row in ROWS if not row.endswith("?")] == []
    rows = [p["title"] for p in json.loads(FILE.read_text())["panels"] if p["type"] == "row"]
    assert rows == list(ROWS)


def test_panels_ask_for_metrics_that_there_are() -> None:
    for panel in PANELS:
        for legend, query in panel.queries.items():
            assert unknown_in(query) == [], panel.title
            known = set().union(*(labels_of().get(n, set()) for n in re.findall(r"\w+", query)))
            assert set(re.findall(r"{{(\w+)}}", legend)) <= known | {"instance"}, panel.title


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(FILE.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_grafana_is_told_where_everything_is() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())
    (prometheus,) = source["datasources"]
    board = json.loads(FILE.read_text())
    uids = {p["datasource"]["uid"] for p in board["panels"] if "datasource" in p}
    assert uids == {prometheus["uid"]}
    assert prometheus["url"] == "http://prometheus:9090"
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/projector.yaml").read_text())
    (from_files,) = provider["providers"]
    compose = yaml.safe_load((ROOT / "ops/compose.yaml").read_text())
    mounts = compose["services"]["grafana"]["volumes"]
    assert f"./grafana/dashboards:{from_files['options']['path']}:ro" in mounts
