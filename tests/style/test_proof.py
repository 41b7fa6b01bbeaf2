"""What the pages about proof name is there."""

from __future__ import annotations

import re

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.support.nodes import ROOT, is_there

PAGES = ("ops/INVARIANTS.md", "ops/DIARY.md")
NODE = re.compile(r"`(tests/[^`]*)`")
SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
DATE = re.compile(r"^## (\d{4}-\d\d-\d\d)$", re.MULTILINE)
BROKEN_BY = re.compile(r"^Broken by: (.*?)\.$", re.MULTILINE | re.DOTALL)
INVARIANTS = 10


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    nodes = NODE.findall((ROOT / page).read_text())
    assert nodes
    assert [node for node in nodes if not is_there(node)] == []


def test_a_test_that_is_not_there_would_be_found() -> None:
    assert is_there("tests/style/test_proof.py::test_a_test_that_is_not_there_would_be_found[a]")
    assert is_there("tests/style/test_proof.py")
    assert not is_there("tests/style/test_proof.py::test_of_nothing")
    assert not is_there("tests/style/test_nothing.py::test_of_nothing")
    assert not is_there("tests/style/test_nothing.py")


def test_every_rule_has_tests_and_its_mutants_are_of_the_catalogue() -> None:
    text = (ROOT / "ops/INVARIANTS.md").read_text()
    titles, sections = SECTION.findall(text), SECTION.split(text)[2::2]
    numbers = [int(title.partition(".")[0]) for title in titles[:INVARIANTS]]
    assert numbers == list(range(1, INVARIANTS + 1))
    assert [
        t for t, section in zip(titles, sections, strict=True) if not NODE.search(section)
    ] == []
    named = {name for part in BROKEN_BY.findall(text) for name in re.findall("`(.*?)`", part)}
    assert named <= {mutant.name for mutant in MUTANTS}
    assert named


def test_the_diary_is_newest_first() -> None:
    dates = DATE.findall((ROOT / "ops/DIARY.md").read_text())
    assert dates == sorted(dates, reverse=True)
    assert dates
