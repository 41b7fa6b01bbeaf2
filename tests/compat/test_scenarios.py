"""Scenarios step by step: what is refused, and every table, as the AppView's own indexer has it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from events.event import Event
from tests.compat.stage import ReferenceStage, event_of
from tests.peer.play import kept as kept_scenarios
from tests.peer.tables import Tables, normal
from tests.support.corpus import lines_of
from tests.support.shared import SHARED_DATA, require_shared

Steps = list[dict[str, Any]]

GOLDEN: dict[str, Steps] = (
    {s["scenario"]: s["steps"] for s in map(json.loads, lines_of("golden/scenarios.jsonl.gz"))}
    if SHARED_DATA.is_dir()
    else {}
)
SCENARIOS = {**GOLDEN, **kept_scenarios()}


# This golden step was made by a delete that takes the duplicates along, as only the reference's own
# tests do it; the subscription's delete lets f3 follow (dataplane.md 0.4, 3.3).
CASCADED = ("followDup", 4)


def promoted(tables: Tables, winner: str, loser: str) -> Tables:
    """The tables, after the delete of the follow that won, in which another has its place."""
    (row,) = tables["follow"]
    rows = {record["uri"].rpartition("/")[2]: record for record in tables["record"]}
    taken = {name: rows[loser][name] for name in ("uri", "cid", "indexedAt")}
    sort_at = min(row["createdAt"], taken["indexedAt"])
    left = [record for name, record in rows.items() if name != winner]
    return tables | {"follow": [row | taken | {"sortAt": sort_at}], "record": left}


def events_of(steps: Steps) -> list[Event]:
    """The events of steps without SQL."""
    return [event_of(json.dumps(step["event"]).encode()) for step in steps]


def test_there_are_scenarios() -> None:
    require_shared()
    assert (len(GOLDEN), len(SCENARIOS)) == (49, 59)


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(reference: ReferenceStage, runner: asyncio.Runner, name: str) -> None:
    runner.run(_play(reference, name, SCENARIOS[name]))


async def _play(stage: ReferenceStage, name: str, steps: Steps) -> None:
    await stage.begin()
    expected: Tables = {}
    refused: list[int] = []
    offset = 0
    for i, step in enumerate(steps):
        await stage.do(step)
        offset += "event" in step
        if not step["accepted"]:
            refused.append(offset)
        before = expected
        expected = normal(step["tables"]) if "tables" in step else before
        if (name, i) == CASCADED:
            expected = promoted(before, "f1", "f3")
        assert await stage.tables() == expected, f"step {i}"
        assert await stage.letters() == refused, f"step {i}"
