"""The catalogue is true: every bug still applies, names tests that are there, and has a page."""

from __future__ import annotations

import ast
from functools import cache

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.mutant import ROOT, Mutant

MUTANTS_MIN = 40
SCORECARD = ROOT / "ops" / "MUTANTS.md"


@cache
def functions_of(file: str) -> set[str]:
    tree = ast.parse((ROOT / file).read_text())
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in tree.body if isinstance(node, kinds)}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_every_bug_applies_and_its_tests_are_there(mutant: Mutant) -> None:
    wrong = mutant.mutated()
    compile(wrong, mutant.file, "exec")
    assert wrong != (ROOT / mutant.file).read_text()
    assert mutant.tests
    for test in mutant.tests:
        file, _, name = test.partition("::")
        assert (ROOT / file).is_file(), test
        assert not name or name.split("[")[0] in functions_of(file), test


def test_the_scorecard_names_every_mutant_and_all_are_caught() -> None:
    """The page that `make mutants` writes is of this catalogue, and by tests that are there."""
    cells = [line.split(" | ") for line in SCORECARD.read_text().splitlines() if " | " in line]
    caught = {row[0].removeprefix("| "): row[-1].removesuffix(" |").strip("`") for row in cells[1:]}
    assert list(caught) == [mutant.name for mutant in MUTANTS]
    for by in caught.values():
        file, _, test = by.partition("::")
        assert test.split("[")[0] in functions_of(f"tests/{file}"), by
    count = len(MUTANTS)
    assert f"**{count} of {count} mutants caught**" in SCORECARD.read_text()


def test_names_are_unique_and_bugs_many() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= MUTANTS_MIN
    assert len({(m.file, m.old, m.new) for m in MUTANTS}) == len(MUTANTS)
