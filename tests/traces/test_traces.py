"""Traces: a span per append and per window, linked, sent by OTLP; nothing where nobody asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from projector.database import Database
from tests.support.cli import Place
from tests.support.collector import Collector, Span
from tests.support.engine import create
from tests.support.watch import Watch

EVENTS = 5000
BATCH = 500
WINDOW = 700
# The deltas of account deletions are made within Postgres, and only seen when they are merged.
SOURCE = f"generate:events={EVENTS},seed=41,accounts=300,invalid=0.01,account=0"
TABLES = {"follow", "like", "post", "repost"}


@pytest.fixture
async def place(tmp_path: Path, database: Database) -> Place:
    """Where commands run, on a database that is ready."""
    await create(database)
    return Place(tmp_path, "--database", database.url)


@pytest.fixture
async def watch(database: Database) -> AsyncIterator[Watch]:
    """Looks at the same database."""
    async with Watch(database.url) as watch:
        yield watch


def asking(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "under-test"}


def offsets(span: Span) -> range:
    """The offsets that an append gave out."""
    return range(
        int(span.attributes["projector.offset.first"]),
        int(span.attributes["projector.offset.last"]) + 1,
    )


def overlap(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)


async def test_windows_are_linked_to_the_appends_whose_events_they_hold(
    place: Place, watch: Watch
) -> None:
    with Collector() as collector:
        env = asking(collector)
        done = await place.ok("ingest", SOURCE, "--batch-events-max", str(BATCH), "--json", env=env)
        await place.ok("run", "--until-caught-up", "--window-events-max", str(WINDOW), env=env)
    assert {span.service for span in collector.spans} == {"under-test"}

    appends = sorted(collector.named("append"), key=lambda span: offsets(span).start)
    assert [offsets(span) for span in appends] == [
        range(first, first + BATCH) for first in range(1, EVENTS + 1, BATCH)
    ]
    for span in appends:
        assert span.links == []
        assert str(span.attributes["projector.source"]).startswith("generate:")
        assert span.attributes["projector.events"] == BATCH
        assert span.attributes["projector.duplicates"] == 0
        assert span.attributes["projector.dead_letters"] == 0
    total_bytes = sum(int(span.attributes["projector.message_bytes"]) for span in appends)
    assert total_bytes == done.json["message_bytes"] > 0

    applies = collector.named("apply")
    assert {span.attributes["projector.projection"] for span in applies} == TABLES
    for name in TABLES:
        await assert_windows(
            watch, name, [s for s in applies if s.attributes["projector.projection"] == name],
            appends,
        )  # fmt: skip
    merges = collector.named("merge")
    assert {span.attributes["projector.projection"] for span in merges} == {
        "profile_agg", "post_agg",
    }  # fmt: skip
    assert sum(int(span.attributes["projector.deltas"]) for span in merges) == sum(
        int(span.attributes["projector.deltas"]) for span in applies
    )


async def assert_windows(watch: Watch, name: str, spans: list[Span], appends: list[Span]) -> None:
    """One span a window, from the first offset to the last without a gap, each with its links."""
    spans = sorted(spans, key=lambda span: span.attributes["projector.offset.after"])
    ends = [(span.attributes["projector.offset.after"], span.attributes["projector.offset.through"])
            for span in spans]  # fmt: skip
    assert (ends[0][0], ends[-1][1]) == (0, EVENTS)
    assert all(before[1] == after[0] for before, after in pairwise(ends))
    assert all(int(through) - int(after) <= WINDOW for after, through in ends)
    for span, (after, through) in zip(spans, ends, strict=True):
        held = range(int(after) + 1, int(through) + 1)
        assert span.links == [a.id for a in appends if overlap(offsets(a), held)]
    (rows, letters, events) = (
        await watch.count(f'SELECT count(*) FROM bsky."{name}"'),
        await watch.count("SELECT count(*) FROM projector.dead_letter WHERE projection = $1", name),
        await watch.count("SELECT events FROM projector.checkpoint WHERE projection = $1", name),
    )
    told = {
        key: sum(int(span.attributes[f"projector.{key}"]) for span in spans)
        for key in ("events", "rows_inserted", "rows_deleted", "dead_letters", "deltas")
    }
    assert told["events"] == events > 0
    assert told["dead_letters"] == letters
    assert told["rows_inserted"] - told["rows_deleted"] == rows > 0
    assert told["deltas"] > 0


async def test_nothing_is_recorded_where_nobody_asks(place: Place, watch: Watch) -> None:
    with Collector() as collector:
        await place.ok("ingest", SOURCE)
        off = asking(collector) | {"OTEL_SDK_DISABLED": "true"}
        await place.ok("run", "--until-caught-up", env=off)
        none = asking(collector) | {"OTEL_TRACES_EXPORTER": "none"}
        await place.ok("ingest", f"{SOURCE},rate=0,spacing_us=900", env=none)
    assert collector.spans == []
    assert await watch.head() == 2 * EVENTS
    assert await watch.count("SELECT count(*) FROM projector.append_trace") == 0


async def test_a_collector_that_is_away_holds_nothing_up(place: Place, watch: Watch) -> None:
    with Collector() as collector:
        env = asking(collector)
    ended = await place.ok("ingest", SOURCE, env=env, seconds=45)
    assert "Traceback" not in ended.err
    assert await watch.head() == EVENTS
