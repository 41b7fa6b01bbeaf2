"""Traces: a span per append and per window, linked, sent by OTLP; nothing where nobody asks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from projector.database import Database
from tests.support.cli import Place
from tests.support.collector import Collector, Span
from tests.support.engine import create
from tests.support.redis_server import RedisServer, redis_binaries, require_redis
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


async def test_from_a_row_one_gets_to_its_message_through_redis(
    place: Place, watch: Watch, tmp_path: Path
) -> None:
    """A row → its window → its append → what brought that: the write into the stream."""
    require_redis()
    async with RedisServer(next(iter(redis_binaries().values())), tmp_path / "redis") as redis:
        stream = f"{redis.url}?stream=firehose_live"
        with Collector() as collector:
            env = asking(collector)
            await place.ok("ingest", SOURCE, "--to", stream, "--batch-events-max", "500", env=env)
            messages = await redis.run("XRANGE", "firehose_live", "-", "+")
            async with place.start(
                "ingest", stream, "--batch-events-max", "800", env=env
            ) as ingest:
                await watch.until(watch.head, EVENTS)
                ingest.terminate()
                assert await ingest.code() == 0
            await place.ok("run", "--until-caught-up", "--window-events-max", "700", env=env)
            uri = await watch.value("SELECT uri FROM bsky.follow ORDER BY uri LIMIT 1")
            (way, *_) = await place.json("trace", uri)
            (same,) = await place.json("trace", str(way["log_offset"]))
            told = await place.ok("trace", uri)
    assert same == way
    spans = {span.id: span for span in collector.spans}

    def found(told: dict[str, str]) -> Span:
        return spans[bytes.fromhex(told["trace_id"]), bytes.fromhex(told["span_id"])]

    # By the links alone, from the window on.
    (applied,) = way["applied"]
    window = found(applied["window"]["span"])
    assert window.name == "apply"
    assert window.attributes["projector.projection"] == applied["projection"] == "follow"
    linked = [spans[link] for link in window.links]
    (append,) = [span for span in linked if way["log_offset"] in offsets(span)]
    assert append == found(way["append"]["span"])
    assert append.parent is not None
    receipt = spans[append.parent]
    assert receipt.name == "receive"
    forwards = [spans[link] for link in receipt.links]
    assert {span.name for span in forwards} == {"forward"}

    # The message is where the event and the receipt say, and says itself who wrote it.
    (fields,) = [dict(zip(e[1][::2], e[1][1::2], strict=True)) for e in messages
                 if e[0].decode() == way["source_cursor"]]  # fmt: skip
    did, _, path = uri.removeprefix("at://").partition("/")
    record = msgspec.json.decode(fields[b"event"])
    assert (record["did"], f"{record['collection']}/{record['rkey']}") == (did, path)
    _, trace_id, span_id, _ = fields[b"trace"].decode().split("-")
    (forward,) = [span for span in forwards if span.id[1].hex() == span_id]
    assert forward.id[0].hex() == trace_id
    assert forward.parent is not None
    assert str(spans[forward.parent].attributes["projector.source"]).startswith("generate:")

    # And on to the counts: the deltas of the row's window were merged by a span linked to it.
    (merge,) = applied["merges"]
    assert merge["aggregate"] == "profile_agg"
    assert window.id in found(merge["span"]).links
    assert window.id[0].hex() in told.text
    assert merge["span"]["trace_id"] in told.text


async def test_a_share_of_the_batches_is_followed_to_the_end(place: Place, watch: Watch) -> None:
    with Collector() as collector:
        env = asking(collector) | {
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.1",
        }  # fmt: skip
        await place.ok("ingest", SOURCE, "--batch-events-max", "25", env=env)
        await place.ok("run", "--until-caught-up", "--window-events-max", "25", env=env)
    received, appends = collector.named("receive"), collector.named("append")
    # Of 200 batches about 20; none, or half of them, would be one chance in 10^9.
    assert 0 < len(received) < 100
    assert {span.parent for span in appends} == {span.id for span in received}
    assert await watch.count("SELECT count(*) FROM projector.append_trace") == len(appends)
    windows = collector.named("apply")
    for append in appends:
        projections = [
            w.attributes["projector.projection"] for w in windows if append.id in w.links
        ]
        assert set(projections) == TABLES
    assert len(windows) < 4 * 200 / 2


async def test_nothing_is_sampled_where_sampling_is_off(place: Place, watch: Watch) -> None:
    with Collector() as collector:
        await place.ok("ingest", SOURCE, env=asking(collector))
        off = asking(collector) | {"OTEL_TRACES_SAMPLER": "always_off"}
        collector.spans.clear()
        await place.ok("run", "--until-caught-up", env=off)
    assert collector.spans == []
    assert await watch.count("SELECT count(*) FROM projector.window_trace") == 0
