"""Notifications of the golden sets are those of the AppView's own indexer."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from projector.database import Database
from tests.derived.notified import in_order
from tests.golden.test_golden import SETS, golden_events, lines_of
from tests.support import engine
from tests.support.shared import SHARED_DATA

OF_POSTS = ("mention", "quote", "reply")
REASONS = ("like", "like-via-repost", "repost", "repost-via-repost", "follow", *OF_POSTS)
CLAIMED = ("like", "repost", "follow")

Rows = list[dict[str, Any]]


def golden(name: str, table: str) -> Rows:
    has = (SHARED_DATA / "golden" / name / "tables" / f"{table}.jsonl.gz").exists()
    return [json.loads(line) for line in lines_of(name, table)] if has else []


def of_reasons(rows: Rows) -> Rows:
    return in_order(row for row in rows if row["reason"] in REASONS)


@pytest.mark.both_servers
@pytest.mark.parametrize("window", [7, 100_000])
@pytest.mark.parametrize("name", SETS)
async def test_whom_records_notify(database: Database, name: str, window: int) -> None:
    await engine.create(database, engine.ALL)
    await engine.append(database, golden_events(name))
    await engine.project(database, window_events=window, declarations=engine.ALL)
    ours = of_reasons((await engine.tables_of(database, ["notification"]))["notification"])
    theirs = of_reasons(golden(name, "notification"))
    # Where the first of duplicates was deleted, its notification stays there, and the record that
    # takes its place notifies nobody; here it does, and the first one's goes.
    gone = {event.uri for event in golden_events(name) if event.action == "delete"}
    promoted = {row["uri"] for row in golden(name, "duplicate_record")} & {
        row["uri"] for table in CLAIMED for row in golden(name, table)
    }
    assert all(row["recordUri"] in gone for row in theirs if row not in ours)
    assert {row["recordUri"] for row in ours if row not in theirs} == {
        row["recordUri"] for row in ours if row["recordUri"] in promoted
    }
    assert len([row for row in theirs if row in ours]) > 100
    assert [row for row in ours if row["reason"] in OF_POSTS] == [
        row for row in theirs if row["reason"] in OF_POSTS
    ]
    told = Counter(row["reason"] for row in theirs)
    assert all(told[reason] > 10 for reason in OF_POSTS)
    assert await engine.differences(database, engine.ALL) == []
