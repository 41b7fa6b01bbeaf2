"""Our rows against those of the AppView's own indexer, and against input made to hurt."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import pytest

from events.event import Event
from events.jetstream_wire import JetstreamDecoder
from projections.post_agg import post_agg
from projections.profile_agg import profile_agg
from projections.record import records
from projector.declare import InvalidRecord, Projection
from tests.support.engine import ALL
from tests.support.records import (
    CID,
    assert_storable,
    event_of,
    follow,
    golden,
    like,
    post,
    record_event,
)
from tests.support.shared import require_shared

PROJECTIONS = {p.collection: p for p in ALL if isinstance(p, Projection) and not p.also}
DECODERS = {c: p.decoder() for c, p in PROJECTIONS.items()}
RECORD = records.decoder()

# (scenario, step): why we take what the AppView refused.
DEVIATIONS = {
    ("likeUpdateCollision", 2): "not a matter of the record: another like holds the subject",
    ("validation", 17): "U+0000 in a tag: kept as U+FFFD, where Postgres refused the AppView's row",
    ("validation", 19): "U+0000 in the text: as above",
    ("profile", 3): "U+0000 in the displayName: as above",
    ("validation", 26): "no image in `images`: the AppView's SQL fails, its lexicon does not",
}


def is_accepted(event: Event) -> bool:
    """Whether the record is kept; what has a table of its own says the same."""
    try:
        RECORD(event)
    except InvalidRecord:
        assert accepted(event) is None
        return False
    return True


def accepted(event: Event) -> dict[str, Any] | None:
    """The row by column, with JSON columns decoded; None where it is refused, or has none."""
    projection = PROJECTIONS.get(str(event.collection))
    if projection is None:
        return None
    try:
        row = DECODERS[projection.collection](event)
    except InvalidRecord:
        return None
    if row is None:
        return None
    columns = dict(zip(projection.table.columns, row, strict=False))
    for column in projection.table.types:
        columns[column] = columns[column] and json.loads(columns[column])
    return columns


def written(projection: Projection, stored: Mapping[str, Any]) -> dict[str, Any]:
    """What a stored row has in the columns that we write."""
    return {column: stored[column] for column in projection.table.columns}


@pytest.mark.parametrize("name", ["graph", "posts", "whole", "redelivered"])
def test_rows_are_those_of_the_appview(name: str) -> None:
    said: dict[tuple[str, str], list[Event]] = {}
    for message in golden(f"{name}/events.jsonl.gz"):
        event = record_event(message)
        if event is not None and event.collection in records.collections:
            assert is_accepted(event)
            said.setdefault((event.collection, event.uri), []).append(event)
    for collection, projection in PROJECTIONS.items():
        for row in golden(f"{name}/tables/{projection.table.name}.jsonl.gz"):
            # One of them is the last by its revision; a redelivered one comes after it.
            events = [e for e in said[collection, row["uri"]] if e.cid == row["cid"]]
            assert any(same(accepted(event), written(projection, row)) for event in events)


def test_scenarios_are_accepted_as_by_the_appview() -> None:
    disagreed: set[tuple[str, int]] = set()
    compared = 0
    for scenario in golden("scenarios.jsonl.gz"):
        tables: dict[str, Any] = {}
        for number, step in enumerate(scenario["steps"]):
            tables = step.get("tables", tables)
            event = record_event(step["event"])
            if event is None or event.collection not in records.collections:
                continue
            row = accepted(event)
            if is_accepted(event) is not step["accepted"]:
                disagreed.add((scenario["scenario"], number))
            elif row is not None:
                compared += same_as_stored(row, PROJECTIONS[event.collection], tables)
    assert disagreed == set(DEVIATIONS)
    assert compared > 150


def same_as_stored(row: dict[str, Any], projection: Projection, tables: Mapping[str, Any]) -> bool:
    """Whether the row is stored at this version; fails if it is stored otherwise."""
    for stored in tables.get(projection.table.name, ()):
        if stored["uri"] == row["uri"] and stored["indexedAt"] == row["indexedAt"]:
            assert same(row, written(projection, stored))
            return True
    return False


def same(row: dict[str, Any] | None, stored: dict[str, Any]) -> bool:
    """Whether they say the same; a profile's createdAt is what the record says, in another form."""
    if row is not None and "bannerCid" in row:
        row = row | {"createdAt": stored["createdAt"]}
    return row == stored


def hostile_messages() -> Iterator[bytes]:
    for line in (require_shared() / "hostile" / "events.jsonl").read_bytes().splitlines():
        yield base64.b64decode(json.loads(line)["input_b64"])


def test_hostile_messages_make_a_storable_row_or_an_invalid_record() -> None:
    decoder, rows = JetstreamDecoder(), 0
    for event in map(decoder.decode, hostile_messages()):
        if not isinstance(event, Event) or event.record is None:
            continue
        projection = PROJECTIONS.get(str(event.collection))
        if projection is not None and accepted(event) is not None:
            row = DECODERS[projection.collection](event)
            assert row is not None
            assert_storable(projection, row)
            rows += 1
    assert rows > 30


def test_hostile_records_make_a_row_or_an_invalid_record_even_undecoded() -> None:
    rows = 0
    for message in hostile_messages():
        try:
            event = record_event(json.loads(message))
        except (ValueError, RecursionError):
            continue
        if event is not None and event.collection in PROJECTIONS:
            rows += accepted(event) is not None
    assert rows > 50


@pytest.mark.parametrize("record", [like(), follow(), post()], ids=lambda record: record["$type"])
def test_a_row_needs_a_record_and_a_cid(record: dict[str, Any]) -> None:
    event = event_of(record)
    row = accepted(event)
    assert row is not None
    assert (row["cid"], row["indexedAt"]) == (CID, "2024-11-17T06:21:31.461Z")
    assert accepted(msgspec.structs.replace(event, cid=None)) is None
    assert accepted(msgspec.structs.replace(event, record=None)) is None


def test_what_postgres_cannot_store_becomes_a_replacement_character() -> None:
    row = accepted(event_of(post(text="a\0b\ud83d\ude00", tags=["\0", "\ud800c"])))
    assert row is not None
    assert (row["text"], row["tags"]) == ("a\ufffdb\U0001f600", ["\ufffd", "\ufffdc"])
    raw = json.dumps(post()).encode().replace(b'"text"', rb'"\udc00": "\\ud800", "text"', 1)
    kept = accepted(event_of(raw.replace(b': "text"', rb': "\\ud800\ud800"'), "app.bsky.feed.post"))
    assert kept is not None
    assert kept["text"] == "\\ud800\ufffd"


def test_counters_count_the_columns_of_their_projections() -> None:
    counted = {
        name: (count.table, count.by)
        for aggregate in (profile_agg, post_agg)
        for name, count in aggregate.counters.items()
    }
    assert counted == {
        "followersCount": ("follow", "subjectDid"),
        "followsCount": ("follow", "creator"),
        "postsCount": ("post", "creator"),
        "likeCount": ("like", "subject"),
        "repostCount": ("repost", "subject"),
        "replyCount": ("post", "replyParent"),
        "quoteCount": ("quote", "subject"),
    }
