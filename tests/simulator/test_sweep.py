"""The sweep has every point, is the same for one seed, and goes on where it was stopped."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import msgspec

from tests.simulator.points import POINTS
from tests.simulator.scorecard import Done, Journal, page
from tests.simulator.sweep import COMMANDS, draw, others, singles

GOOD = Done(
    key="pair 1", text="seed 3: ingest at append.moved:1 and daemon at apply.moved:2",
    met=["append.moved", "apply.moved"], complaints=[], unfired=[], looks=1234, seconds=5.0,
    drawn=3,
)  # fmt: skip
BAD = msgspec.structs.replace(GOOD, key="single", met=["apply.moved"], unfired=["daemon at x"])


def test_every_point_is_killed_singly_and_those_of_commands_while_events_arrive_as_well() -> None:
    plans = list(singles(1))
    assert plans == list(singles(1))
    assert len({str(plan) for plan in plans}) == len(plans)
    for name, point in POINTS.items():
        cases = [(plan.arms[0].hit, plan.arriving) for plan in plans if plan.arms[0].point == name]
        first = [arriving for hit, arriving in cases if hit == 1]
        assert first == ([True, False] if point.process in COMMANDS else [False])
        assert all(hit <= point.hits for hit, _ in cases)


def test_where_a_point_is_not_met_another_history_is_tried() -> None:
    first = next(iter(singles(1)))
    tried = list(itertools.islice(others(first), 4))
    assert tried == list(itertools.islice(others(first), 4))
    assert tried[0] == first
    assert {plan.arms for plan in tried} == {first.arms}
    assert len({plan.seed for plan in tried}) == 4


def test_pairs_are_those_of_their_seed_and_of_all_processes() -> None:
    plans = [draw(random.Random(f"pair {n} of 1")) for n in range(1, 400)]
    assert plans == [draw(random.Random(f"pair {n} of 1")) for n in range(1, 400)]
    assert all(len(plan.arms) == 2 for plan in plans)
    processes = {arm.process for plan in plans for arm in plan.arms}
    assert processes == {point.process for point in POINTS.values()} | {"rival"}


def test_what_passed_is_known_and_what_failed_is_run_again(tmp_path: Path) -> None:
    path = tmp_path / "build" / "journal"
    journal = Journal(path)
    journal.add(BAD)
    journal.add(GOOD)
    with path.open("a") as file:
        file.write('{"key":')
    assert Journal(path).done == {"pair 1": GOOD}
    assert Journal(path, fresh=True).done == {}


def test_the_page_says_what_failed() -> None:
    text = page([BAD, GOOD], 1, "2026-01-02")
    assert "2026-01-02, seed 1: **1 of 2 cases passed**; 1 of " in text
    assert "1 random pairs; 4 drawn anew" in text
    assert "2,468 looks" in text
    assert "| `apply.moved` | daemon | 2 |" in text
    assert "- single: " in text
    assert "never met: daemon at x" in text
    assert "## Failed" not in page([GOOD], 1, "2026-01-02")
