"""Faults befall real servers and processes; the end is as if nothing had happened.

These are a few of the cases of `make faults`, which has every fault and 100 random pairs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.simulator.faults.card import Score, scorecard
from tests.simulator.faults.case import Outcome, run_case
from tests.simulator.faults.fault import FAULTS
from tests.simulator.faults.servers import Servers, servers
from tests.simulator.faults.world import SETTINGS
from tests.support.redis_server import require_redis

CASES = [
    ("postgres-immediate", "websocket-cut"),
    ("redis-flushed", "backends-terminated"),
    ("daemon-paused", "rows-locked"),
]


@pytest.fixture(scope="module")
def at(runner: asyncio.Runner) -> Iterator[Servers]:
    require_redis()
    running = servers(SETTINGS)
    yield runner.run(running.__aenter__())
    runner.run(running.__aexit__(None, None, None))


@pytest.mark.parametrize("faults", CASES, ids=map(" and ".join, CASES))
def test_two_faults_at_once(at: Servers, runner: asyncio.Runner, faults: tuple[str, ...]) -> None:
    seed = CASES.index(faults) + 1
    outcome = runner.run(run_case(at, f"faults_{seed}", seed, faults))
    assert (outcome.complaints, outcome.unfired) == ([], [])
    assert set(outcome.proofs) == set(faults)
    assert outcome.looks > 0


def test_every_fault_says_what_it_does_and_how_that_is_seen() -> None:
    assert len(FAULTS) >= 30
    assert all(fault.does and fault.seen and fault.holds for fault in FAULTS.values())


def test_the_scorecard_has_every_case_and_names_those_that_failed() -> None:
    good = Outcome(("redis-cut",), 1, proofs={"redis-cut": "4 connections cut"}, looks=5)
    bad = Outcome(("redis-cut", "disk-full"), 2, unfired=["disk-full was not seen"], looks=5)
    page = scorecard(Score([good], [bad], 120), 7)
    assert "- 1 of 2 cases passed, every fault of them seen to fire; 10 looks" in page
    assert "- `redis-cut`: 4 connections cut" in page
    assert page.count("- seed 2: redis-cut and disk-full: disk-full was not seen") == 2
    assert all(f"| `{name}` |" in page for name in FAULTS)
