"""Every alert is fired by Prometheus' own rules, says what to read, and stays quiet otherwise."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from projector.metrics import METRICS
from tests.deploy.firing import FIRING, HEALTHY, Fires
from tests.deploy.metrics_in import unknown_in
from tests.support.nodes import ROOT
from tests.support.tls import required

RULES = ROOT / "ops/prometheus/alerts.yaml"
MINUTES_OF_HEALTH = range(0, 200, 20)


def rules() -> list[dict[str, Any]]:
    """All rules of the file."""
    return [
        rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    ]


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by name."""
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def promtool(*words: str) -> None:
    required(shutil.which("promtool") is not None, "promtool (Debian's prometheus)")
    done = subprocess.run(["promtool", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_understands_what_it_is_given(tmp_path: Path) -> None:
    promtool("check", "rules", str(RULES))
    # The files it names are where the container has them.
    text = (ROOT / "ops/prometheus/prometheus.yaml").read_text()
    (tmp_path / "status_token").write_text("x")
    text = text.replace("/etc/prometheus/alerts.yaml", str(RULES))
    (tmp_path / "p.yaml").write_text(text.replace("/run/secrets", str(tmp_path)))
    promtool("check", "config", str(tmp_path / "p.yaml"))


def test_every_alert_fires_and_not_before_its_time(tmp_path: Path) -> None:
    assert set(FIRING) == set(alerts())
    tests = [of(name, fires) for name, fires in FIRING.items()]
    asked = [
        {"eval_time": f"{minute}m", "alertname": name, "exp_alerts": []}
        for name in FIRING
        for minute in MINUTES_OF_HEALTH
    ]
    series = [{"series": name, "values": values} for name, values in HEALTHY.items()]
    tests.append({"interval": "1m", "input_series": series, "alert_rule_test": asked})
    whole = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests}
    file = tmp_path / "tests.yaml"
    file.write_text(json.dumps(whole))
    promtool("test", "rules", str(file))


def of(name: str, fires: Fires) -> dict[str, Any]:
    """The test of one alert, as promtool has it."""
    runbook = alerts()[name]["annotations"]["runbook_url"]
    expected = {
        "exp_labels": {"severity": fires.severity, **fires.labels},
        "exp_annotations": {"summary": fires.summary, "runbook_url": runbook},
    }
    return {
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in fires.series.items()],
        "alert_rule_test": [
            {"eval_time": f"{fires.silent}m", "alertname": name, "exp_alerts": []},
            {"eval_time": f"{fires.fires}m", "alertname": name, "exp_alerts": [expected]},
        ],
    }


@pytest.mark.parametrize("name", FIRING)
def test_an_alert_says_how_bad_it_is_since_when_and_what_to_read(name: str) -> None:
    alert = alerts()[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert re.fullmatch(r"\d+[mh]", alert["for"])
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in [heading.lower().replace(" ", "-") for heading in headings]
    assert f"`{name}`" in (ROOT / page).read_text(), "the page's list of alerts has it not"


def test_alerts_ask_for_metrics_that_there_are() -> None:
    for rule in rules():
        assert unknown_in(rule["expr"]) == [], rule


def test_what_should_be_zero_has_an_alert() -> None:
    expressions = " ".join(rule["expr"] for rule in rules())
    quiet = [m.full_name for m in METRICS if m.zero and m.full_name not in expressions]
    assert quiet == []


def test_a_metric_that_is_not_there_would_be_found() -> None:
    assert unknown_in("sum by (projection) (rate(projector_windows_total[5m]))") == []
    assert unknown_in("projector_windows") == ["projector_windows"]
    assert unknown_in("sum by (source) (projector_lag_events)") == ["source"]
    assert unknown_in('projector_lag_events{source="x"}') == ["source"]
