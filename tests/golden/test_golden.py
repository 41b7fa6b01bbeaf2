"""The tables equal those that the Bluesky AppView's own indexer makes of the same events."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterable
from typing import Any

import pytest

from events.event import Event
from events.jetstream_wire import JetstreamDecoder
from projector.daemon import Daemon
from projector.database import Database
from projector.settings import Settings
from tests.support import engine
from tests.support.harness import Stage
from tests.support.shared import SHARED_DATA, require_shared

SETS = ("graph", "posts", "whole", "redelivered")
FLAGS = (
    "invalidReplyRoot",
    "violatesThreadGate",
    "violatesEmbeddingRules",
    "hasThreadGate",
    "hasPostGate",
)
OURS = ("/app.bsky.feed.like/", "/app.bsky.feed.repost/", "/app.bsky.graph.follow/")
TABLES = ("post", "follow", "like", "repost", "duplicate_record", "profile_agg", "post_agg")
"""The tables with the most events; `test_everything` looks at all."""
Rows = list[dict[str, Any]]


def chosen(tables: dict[str, Rows]) -> dict[str, Rows]:
    """Of all tables those looked at here."""
    return {name: tables[name] for name in TABLES}


def golden_events(name: str) -> list[Event]:
    require_shared()
    decoder = JetstreamDecoder()
    decoded = [
        decoder.decode(line) for line in _lines(SHARED_DATA / "golden" / name / "events.jsonl.gz")
    ]
    assert all(isinstance(event, Event) for event in decoded)
    return [event for event in decoded if isinstance(event, Event)]


def lines_of(name: str, table: str) -> Iterable[bytes]:
    """The golden rows of one table, as JSON."""
    return _lines(SHARED_DATA / "golden" / name / "tables" / f"{table}.jsonl.gz")


def golden_tables(name: str) -> dict[str, Rows]:
    """The golden rows, with what the issue and golden/README.md leave open taken out."""
    folder = SHARED_DATA / "golden" / name / "tables"
    tables: dict[str, Rows] = {}
    for table in TABLES:
        path = folder / f"{table}.jsonl.gz"
        tables[table] = [json.loads(line) for line in _lines(path)] if path.exists() else []
    bases = {row["uri"] for table in ("follow", "like", "repost") for row in tables[table]}
    # The reference keeps the entry of a duplicate after it was promoted (golden/README.md).
    tables["duplicate_record"] = [
        row
        for row in tables["duplicate_record"]
        if row["uri"] not in bases and any(part in row["uri"] for part in OURS)
    ]
    return normal(tables)


def normal(tables: dict[str, Rows]) -> dict[str, Rows]:
    """The rows in order, without flags, which need gates."""
    return in_order(
        {
            name: [{c: v for c, v in row.items() if c not in FLAGS} for row in rows]
            for name, rows in tables.items()
        }
    )


def in_order(tables: dict[str, Rows]) -> dict[str, Rows]:
    """quoteCount out; counters that are all zero out, since no row and zeros are the same
    (dataplane.md 2.1: a missing row reads as zeros)."""
    tables = {
        name: sorted(
            (_cleaned(row) for row in rows), key=lambda row: str(row.get("uri") or row["did"])
        )
        for name, rows in tables.items()
    }
    for name in ("profile_agg", "post_agg"):
        tables[name] = [
            row for row in tables[name] if any(n for c, n in row.items() if c.endswith("Count"))
        ]
    return tables


def _cleaned(row: dict[str, Any]) -> dict[str, Any]:
    row = {c: v for c, v in row.items() if c != "quoteCount"}
    for column in ("langs", "tags"):
        if isinstance(row.get(column), str):
            row[column] = json.loads(row[column])
    return row


def _lines(path: Any) -> Iterable[bytes]:
    with gzip.open(path) as file:
        yield from (line.rstrip(b"\n") for line in file)


@pytest.mark.parametrize("name", SETS)
async def test_three_daemons_make_the_same_tables(database: Database, name: str) -> None:
    """All with all projections; the leases decide who runs which."""
    await engine.create(database)
    await engine.append(database, golden_events(name))
    settings = Settings(window_events_max=200, window_events_min=200, poll_seconds=0.05)
    daemons = [Daemon(database, engine.DECLARATIONS, settings) for _ in range(3)]
    runs = [daemon.run(asyncio.Event(), until_caught_up=True) for daemon in daemons]
    await asyncio.wait_for(asyncio.gather(*runs), 120)
    assert normal(await engine.tables_of(database, TABLES)) == golden_tables(name)
    assert await engine.differences(database) == []


@pytest.mark.parametrize("name", SETS)
def test_golden_sets_come_out_equal_event_by_event(
    stage: Stage, runner: asyncio.Runner, name: str
) -> None:
    """Each event in a window, and a transaction, of its own."""

    async def run() -> None:
        await stage.begin(golden_events(name))
        await stage.finish_event_by_event()
        assert normal(chosen(await stage.tables())) == golden_tables(name)
        await stage.assert_counts_are_exact()

    runner.run(run())


@pytest.mark.both_servers
@pytest.mark.parametrize("window", [7, 1000, 100_000])
@pytest.mark.parametrize("name", SETS)
async def test_golden_sets_come_out_equal(database: Database, name: str, window: int) -> None:
    await engine.create(database)
    await engine.append(database, golden_events(name))
    await engine.project(database, window_events=window)
    assert normal(await engine.tables_of(database, TABLES)) == golden_tables(name)
    assert await engine.differences(database) == []
