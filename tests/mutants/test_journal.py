"""A run of the catalogue goes on where it was stopped, and tries anew what has changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.mutants.catalogue import MUTANTS
from tests.mutants.journal import Journal
from tests.mutants.scorecard import CAUGHT, SURVIVED, Verdict


def test_what_was_caught_is_known_as_long_as_nothing_changed(tmp_path: Path) -> None:
    path = tmp_path / "build" / "journal"
    caught, survived, other = MUTANTS[:3]
    journal = Journal(path)
    journal.add(Verdict(caught, CAUGHT, "tests/a.py::test_b", 1.26))
    journal.add(Verdict(survived, SURVIVED, "its tests pass", 2.0))
    with path.open("a") as file:
        file.write('{"name":"' + other.name)
    known = Journal(path).known([caught, survived, other])
    assert known == [Verdict(caught, CAUGHT, "tests/a.py::test_b", 1.3)]
    for changed in (
        replace(caught, new=caught.new + " "),
        replace(caught, tests=(*caught.tests, "tests/c.py")),
        replace(caught, old="no such text"),
    ):
        assert Journal(path).known([changed]) == []
    assert Journal(path, fresh=True).known([caught]) == []
