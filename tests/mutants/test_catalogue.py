"""The catalogue is true: every bug still applies, names tests that are there, and has a page."""

from __future__ import annotations

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant
from tests.support.nodes import is_there

MUTANTS_MIN = 40
SCORECARD = ROOT / "ops" / "MUTANTS.md"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_every_bug_applies_and_its_tests_are_there(mutant: Mutant) -> None:
    wrong = mutant.mutated()
    compile(wrong, mutant.file, "exec")
    assert wrong != (ROOT / mutant.file).read_text()
    assert mutant.tests
    assert [test for test in mutant.tests if not is_there(test)] == []


def test_the_scorecard_names_every_mutant_and_all_are_caught() -> None:
    """The page that `make mutants` writes is of this catalogue, and by tests that are there."""
    cells = [line.split(" | ") for line in SCORECARD.read_text().splitlines() if " | " in line]
    caught = {row[0].removeprefix("| "): row[-1].removesuffix(" |").strip("`") for row in cells[1:]}
    assert list(caught) == [mutant.name for mutant in MUTANTS]
    assert [by for by in caught.values() if not is_there(f"tests/{by}")] == []
    count = len(MUTANTS)
    assert f"**{count} of {count} mutants caught**" in SCORECARD.read_text()


def test_names_are_unique_and_bugs_many() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= MUTANTS_MIN
    assert len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)
