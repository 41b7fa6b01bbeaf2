"""All projections against all tables that the Bluesky AppView's own indexer makes of them.

What is left out, and why, is said where it is: flags that come from other accounts' gates, tables
that no projection keeps yet, and the columns that the AppView fills from its clock.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from events.event import RESOLVED, Event
from projector.database import Database
from projector.declare import Aggregate
from tests.golden.test_golden import SETS, golden_events, lines_of
from tests.support import engine
from tests.support.shared import SHARED_DATA

NOT_KEPT: set[str] = set()
"""Tables of the golden sets that no projection keeps yet."""
ELSEWHERE = {"notification"}
"""`tests/derived/test_golden.py` looks at these."""

CLAIMED = ("like", "repost", "follow", "actor_block", "list_block", "list_item", "verification")
KEPT = {"feed_item": "postUri", "quote": "subject"}
"""Tables, and their columns of the subject: where that was deleted, the AppView's indexer takes
other accounts' reposts out of their feeds and their quotes out of `quote`; we keep them."""

Rows = list[dict[str, Any]]


def golden_names(name: str) -> list[str]:
    folder: Path = SHARED_DATA / "golden" / name / "tables"
    return sorted(path.name.removesuffix(".jsonl.gz") for path in folder.iterdir())


def golden(name: str) -> dict[str, Rows]:
    tables = {table: [json.loads(line) for line in lines_of(name, table)]
              for table in golden_names(name) if table not in NOT_KEPT | ELSEWHERE}  # fmt: skip
    bases = {row["uri"] for table in CLAIMED for row in tables.get(table, [])}
    # The reference keeps the entry of a duplicate after it was promoted (golden/README.md).
    tables["duplicate_record"] = [
        row for row in tables["duplicate_record"] if row["uri"] not in bases
    ]
    return comparable(tables)


def cleaned(row: dict[str, Any]) -> dict[str, Any]:
    """The row with JSON columns as values."""
    row = dict(row)
    for column in ("langs", "tags"):
        if isinstance(row.get(column), str):
            row[column] = json.loads(row[column])
    return row


def in_milliseconds(text: str) -> str:
    """A datetime in UTC, cut to milliseconds: the AppView keeps that of profiles as it came."""
    moment = datetime.fromisoformat(text).astimezone(UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def comparable(tables: dict[str, Rows]) -> dict[str, Rows]:
    """Sorted, JSON as values, and a profile's own createdAt masked where the record has none."""
    for row in tables["record"]:
        if isinstance(row["json"], str):
            row["json"] = json.loads(row["json"])
    records = {row["uri"]: row["json"] for row in tables["record"]}
    for row in tables.get("profile", []):
        stated = records[row["uri"]].get("createdAt")
        row["createdAt"] = stated and in_milliseconds(row["createdAt"])
    live = {row["uri"] for row in tables["record"]}
    for row in tables.get("op_thread_reply", []):
        # The AppView's time is that of its clock, and stays when the post comes again.
        row["deletedAt"] = row["deletedAt"] is not None and row["uri"] not in live
    for name in ("profile_agg", "post_agg"):
        # No row and zeros are the same (dataplane.md 2.1).
        tables[name] = [row for row in tables.get(name, [])
                        if any(n for c, n in row.items() if c.endswith("Count"))]  # fmt: skip
    return {name: sorted(map(cleaned, rows), key=lambda row: json.dumps(row, sort_keys=True))
            for name, rows in tables.items()}  # fmt: skip


def with_resolutions(events: list[Event]) -> list[Event]:
    """The events, and after each identity event that a resolver found the handle that it tells."""
    found = []
    for event in events:
        found.append(event)
        if event.kind == "identity":
            told = json.loads(event.record or b"{}")["handle"]
            record = json.dumps({"handle": told}).encode()
            found.append(msgspec.structs.replace(event, action=RESOLVED, record=record))
    return found


def last_revisions(events: list[Event]) -> dict[str, str]:
    """The highest revision of each repo, but of accounts that were deleted since."""
    found: dict[str, str] = {}
    for event in events:
        if event.kind == "commit":
            found[event.did] = max(found.get(event.did, ""), event.rev or "")
        elif event.removes_account:
            found.pop(event.did, None)
    return found


@pytest.mark.both_servers
@pytest.mark.parametrize("window", [7, 100_000])
@pytest.mark.parametrize("name", SETS)
async def test_every_table_comes_out_equal(database: Database, name: str, window: int) -> None:
    await engine.create(database, engine.ALL)
    await engine.append(database, with_resolutions(golden_events(name)))
    await engine.project(database, window_events=window, declarations=engine.ALL)
    names = set(engine.table_names(engine.ALL)) - ELSEWHERE
    found = await engine.tables_of(database, names)
    # The AppView keeps no revision of a repo whose commit it cannot name: the sets have none.
    revisions = {row["did"]: row["repoRev"] for row in found.pop("actor_sync")}
    assert revisions == last_revisions(golden_events(name))
    ours = comparable(found)
    expected = golden(name)
    # Of accounts that it does not know the AppView forgets the state; we keep it.
    named = {event.did for event in golden_events(name) if event.kind == "identity"}
    ours["actor"] = [row for row in ours["actor"] if row["did"] in named]
    gone = {event.uri for event in golden_events(name) if event.action == "delete"}
    for table, subject in KEPT.items():
        kept = [row for row in ours[table] if row not in expected.get(table, [])]
        assert all(row[subject] in gone for row in kept), table
        assert all(row["uri"] in {row["uri"] for row in ours["record"]} for row in kept)
        ours[table] = [row for row in ours[table] if row not in kept]
    for row in (*ours["post_agg"], *expected["post_agg"]):
        if row["uri"] in gone:
            # Where it took quotes away it counts what is left, or leaves the number as it was.
            row["quoteCount"] = None
    for table in expected:
        found_only = [row for row in ours[table] if row not in expected[table]]
        missing = [row for row in expected[table] if row not in ours[table]]
        assert (found_only, missing) == ([], []), table
    assert all(not rows for table, rows in ours.items() if table not in expected)
    assert await engine.differences(database, engine.ALL) == []
    connection = await database.connect("test letters")
    assert await connection.fetch("SELECT * FROM projector.dead_letter") == []
    await connection.close()
    assert any(isinstance(d, Aggregate) for d in engine.ALL)
