"""The registry of crash points and the code agree."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import events
import projector
from tests.simulator.points import POINTS

FOLDERS = [Path(package.__file__ or "").parent for package in (events, projector)]


def called() -> Counter[str]:
    """The names with which `crash_point` is called, each as often as it is."""
    found: Counter[str] = Counter()
    for path in (path for folder in FOLDERS for path in folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "crash_point":
                (name,) = node.args
                assert isinstance(name, ast.Constant), f"{path}: a name that is not written out"
                found[str(name.value)] += 1
    return found


def test_every_point_is_known_by_one_name_and_said_what_recovery_must_do() -> None:
    assert called() == Counter(dict.fromkeys(POINTS, 1))
    assert all(point.recovery and point.hits >= 1 for point in POINTS.values())
