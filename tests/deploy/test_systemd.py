"""The units: systemd understands them, they are closed, and run what there is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from projector.cli import app
from projector.environment import FILE_SUFFIX, OTHER_VARIABLES, SECRET_VARIABLES, take_settings
from projector.settings import Settings, from_environment
from tests.support.nodes import ROOT
from tests.support.tls import required

UNITS = sorted((ROOT / "ops/systemd").glob("*.service"))
PROGRAM = "/opt/projector/bin/projector"
EXPOSURE_MAX = 20
"""Tenths: 0 is closed, 100 open. systemd calls up to 4.0 OK."""


def values(unit: Path) -> dict[str, list[str]]:
    """What is said of each option."""
    found: dict[str, list[str]] = {}
    for name, value in re.findall(r"^(\w+)=(.*)$", unit.read_text(), re.MULTILINE):
        found.setdefault(name, []).append(value)
    return found


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def analyze(*words: str) -> None:
    required(shutil.which("systemd-analyze") is not None, "systemd-analyze (Debian's systemd)")
    done = subprocess.run(["systemd-analyze", *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr


def test_systemd_understands_it_and_finds_it_closed(unit: Path, tmp_path: Path) -> None:
    # It looks whether the program is there; and a template needs an instance.
    here = tmp_path / unit.name.replace("@.", "@1.")
    here.write_text(unit.read_text().replace(PROGRAM, sys.executable))
    analyze("verify", "--man=no", "--recursive-errors=no", str(here))
    analyze("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", str(here))


def test_it_is_ready_and_alive_by_its_own_word(unit: Path) -> None:
    said = values(unit)
    assert said["Type"] == ["notify"]
    assert float(said["WatchdogSec"][0]) > 3 * 2
    assert said["Restart"] == ["on-failure"]
    assert float(said["TimeoutStopSec"][0]) > Settings().stop_seconds


def test_it_runs_a_command_and_settings_that_there_are(unit: Path) -> None:
    said = values(unit)
    program, *words = shlex.split(said["ExecStart"][0])
    assert program == PROGRAM
    for target in ([], ["--to", "redis://host:6379/0?stream=firehose_live"]):
        given = [word for w in words for word in (target if w == "$TO" else [w])]
        given = [word.replace("${SOURCE}", "jetstream") for word in given]
        app.parse_args(take_settings(given), exit_on_error=False, print_error=False)
    environment = dict(line.split("=", 1) for line in said["Environment"])
    files = {secret + FILE_SUFFIX for secret in SECRET_VARIABLES}
    from_environment(environment, OTHER_VARIABLES | files)
    credentials = {line.partition(":")[0] for line in said["LoadCredential"]}
    assert {v.removeprefix("%d/") for n, v in environment.items() if n in files} == credentials
