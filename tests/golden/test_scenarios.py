"""The short scenarios, step by step: equal to the reference, or a deviation that is listed here.

Where we deviate on purpose the rows must be those of the naive model, and a listed deviation that
is none fails, too.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from events.event import Event
from events.jetstream_wire import JetstreamDecoder
from tests.golden.test_golden import OURS, Rows, chosen, in_order, normal
from tests.support.court import PROJECTIONS, Court
from tests.support.model import Model
from tests.support.records import golden
from tests.support.shared import SHARED_DATA, require_shared

TABLES = ("post", "follow", "like", "repost", "duplicate_record", "profile_agg", "post_agg")
COLLECTIONS = {c for p in PROJECTIONS for c in p.collections}

PROMOTED = "a duplicate is promoted again and again as long as one remains, and losers are listed "
PROMOTED += "under whoever holds their claim now (issue 6 item 5)"
MOVED = "who leaves a claim by an update leaves it to the first who waits for it"
FIRST = "of records with one claim the one with the smallest (indexedAt, uri) has the row"
REPLACES = "a create of a key that exists replaces it (issue 6 item 5)"
KEPT = "U+0000 becomes U+FFFD, and empty images are none, instead of losing the record (item 5)"
MARKED = "editing a post keeps the flags of its gates (issue 6 item 5)"
REV = "a repeat, known by its rev, changes nothing, not even for a while"

# Scenario and table: why, and the steps (from 0) after which they differ.
DEVIATIONS: dict[tuple[str, str], tuple[str, list[int]]] = {
    ("likeDup", "like"): (PROMOTED, [5]),
    ("likeDup", "duplicate_record"): (PROMOTED, [4, 5]),
    ("likeDup", "post_agg"): (PROMOTED, [5]),
    ("followDup", "follow"): (PROMOTED, [4]),
    ("followDup", "profile_agg"): (PROMOTED, [4]),
    ("dupOrder", "duplicate_record"): (PROMOTED, [3]),
    ("dupIndexedAtAfterUpdate", "duplicate_record"): (PROMOTED, [4]),
    ("likeUpdateWinnerNewSubject", "like"): (MOVED, [2]),
    ("likeUpdateWinnerNewSubject", "duplicate_record"): (MOVED, [2]),
    ("likeUpdateWinnerNewSubject", "post_agg"): (MOVED, [2]),
    ("likeUpdateCollision", "like"): (MOVED, [2]),
    ("likeUpdateCollision", "duplicate_record"): (MOVED, [2]),
    ("likeUpdateCollision", "post_agg"): (MOVED, [2]),
    ("likeUpdateSameSubject", "like"): (FIRST, [2]),
    ("likeUpdateSameSubject", "duplicate_record"): (FIRST, [2]),
    ("createReplayDifferentContent", "post"): (REPLACES, [1, 2, 3, 4]),
    ("createReplayDifferentContent", "like"): (REPLACES, [4]),
    ("createReplayDifferentContent", "duplicate_record"): (REPLACES, [4]),
    ("createReplayDifferentContent", "post_agg"): (REPLACES, [4]),
    ("postUpdateWithEngagement", "post"): (MARKED, [5, 6, 7]),
    ("validation", "post"): (KEPT, list(range(17, 56))),
    ("validation", "profile_agg"): (KEPT, list(range(17, 56))),
    ("replayAll", "post"): (REV, [9, 10, 11]),
    ("replayAll", "follow"): (REV, [13]),
    ("replayAll", "duplicate_record"): (REV, [13]),
    ("replayDupFlip", "follow"): (REV, [3, 4]),
    ("replayDupFlip", "duplicate_record"): (REV, [3, 4]),
}
# Events that the reference refuses and we take.
ACCEPTED = {
    ("likeUpdateCollision", 2): MOVED,
    ("validation", 17): KEPT,
    ("validation", 19): KEPT,
    ("validation", 26): KEPT,
}

SCENARIOS: dict[str, list[dict[str, Any]]] = (
    {s["scenario"]: s["steps"] for s in golden("scenarios.jsonl.gz")}
    if SHARED_DATA.is_dir()
    else {}
)


def test_there_are_scenarios() -> None:
    require_shared()
    assert len(SCENARIOS) == 49
    assert {name for name, _ in (*DEVIATIONS, *ACCEPTED)} <= SCENARIOS.keys()


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(court: Court, runner: asyncio.Runner, name: str) -> None:
    runner.run(_play(court, name, SCENARIOS[name]))


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_in_one_window_ends_the_same(
    court: Court, runner: asyncio.Runner, name: str
) -> None:
    steps = SCENARIOS[name]

    async def run() -> None:
        await court.begin([_event(step) for step in steps])
        await court.finish()
        whole = await court.everything()
        await court.begin([_event(step) for step in steps])
        await court.finish([1] * 1000)
        assert await court.everything() == whole

    runner.run(run())


async def _play(court: Court, name: str, steps: list[dict[str, Any]]) -> None:
    await court.begin([])
    model = Model()
    reference: dict[str, Rows] = {}
    refused: set[int] = set()
    for i, step in enumerate(steps):
        await court.append([_event(step)])
        await court.finish()
        reference = step.get("tables", reference)
        accepted = step["accepted"] or (name, i) in ACCEPTED
        if accepted:
            model.eat(court.log[-1])
        elif court.log[-1].collection in COLLECTIONS:
            refused.add(i + 1)
        found = in_order(chosen(await court.tables()))
        found["duplicate_record"] = [row for row in found["duplicate_record"] if is_ours(row)]
        expected = _golden(reference)
        for table in TABLES:
            _, deviating = DEVIATIONS.get((name, table), ("", []))
            if i in deviating:
                assert found[table] != expected[table], f"step {i}: {table} is no deviation"
                # The model knows nothing of gates; `tests/judging` does.
                expected[table] = normal(chosen(model.tables()))[table]
                found[table] = normal(found)[table]
            assert found[table] == expected[table], f"step {i}: {table}"
        assert {offset for _, offset in await court.letters()} == refused, f"step {i}"
        await court.assert_counts_are_exact()


def is_ours(row: dict[str, Any]) -> bool:
    return any(part in row["uri"] for part in OURS)


def _event(step: dict[str, Any]) -> Event:
    event = JetstreamDecoder().decode(json.dumps(step["event"]).encode())
    assert isinstance(event, Event)
    return event


def _golden(tables: dict[str, Rows]) -> dict[str, Rows]:
    """The reference's rows, without what it leaves of duplicates that it promoted."""
    rows = {table: list(tables.get(table, [])) for table in TABLES}
    holders = {row["uri"] for table in ("follow", "like", "repost") for row in rows[table]}
    rows["duplicate_record"] = [
        row for row in rows["duplicate_record"] if row["uri"] not in holders and is_ours(row)
    ]
    return in_order(rows)
