"""Sample records, and events made of them or of the shared Jetstream lines."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

from events.event import TIME_US_MAX, Event
from projector.declare import Projection, Row
from tests.support.shared import require_shared

DID = "did:plc:t423oqsrtl5gtgdfxvye5gco"
CID = "bafyreifrjjaql326rqg7edfj7as24eptuuc3tdod3q6vlxie74hoouyzbu"
BLOB_CID = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
MOMENT = "2024-11-17T06:21:27.500Z"

REF = {"uri": f"at://{DID}/app.bsky.feed.post/3lb4rbqitunyc", "cid": CID}
RATIO = {"width": 4, "height": 3}


def blob(mime: str = "image/png", size: int = 1000) -> dict[str, Any]:
    return {"$type": "blob", "ref": {"$link": BLOB_CID}, "mimeType": mime, "size": size}


IMAGE = {"image": blob(), "alt": "a", "aspectRatio": RATIO}
PAGE = {"uri": "https://example.com", "title": "t", "description": "d", "thumb": blob()}
CAPTION = {"lang": "en", "file": blob("text/vtt")}
VIDEO = {"video": blob("video/mp4"), "captions": [CAPTION], "alt": "a", "presentation": "gif"}
EMBEDS: dict[str, dict[str, Any]] = {
    "images": {"images": [IMAGE]},
    "external": {"external": PAGE | {"associatedRefs": [REF]}},
    "video": VIDEO | {"aspectRatio": RATIO},
    "gallery": {"items": [{"$type": "app.bsky.embed.gallery#image"} | IMAGE]},
    "record": {"record": REF},
    "recordWithMedia": {
        "record": {"record": REF},
        "media": {"$type": "app.bsky.embed.images", "images": [IMAGE]},
    },
}
FEATURES = [
    {"$type": "app.bsky.richtext.facet#mention", "did": DID},
    {"$type": "app.bsky.richtext.facet#link", "uri": "https://example.com"},
    {"$type": "app.bsky.richtext.facet#tag", "tag": "x"},
    {"$type": "com.example.feature", "x": 1},
]


def embed(kind: str, **fields: Any) -> dict[str, Any]:
    """The sample embed of one kind, with some fields replaced."""
    return {"$type": f"app.bsky.embed.{kind}"} | EMBEDS[kind] | fields


def like(**fields: Any) -> dict[str, Any]:
    record = {"$type": "app.bsky.feed.like", "subject": REF, "createdAt": MOMENT, "via": REF}
    return record | fields


def follow(**fields: Any) -> dict[str, Any]:
    record = {"$type": "app.bsky.graph.follow", "subject": DID, "createdAt": MOMENT, "via": REF}
    return record | fields


def post(**fields: Any) -> dict[str, Any]:
    """A post that has everything."""
    record = {
        "$type": "app.bsky.feed.post",
        "text": "text",
        "createdAt": MOMENT,
        "langs": ["en", "pt-BR"],
        "tags": ["a", "b"],
        "reply": {"root": REF, "parent": REF},
        "facets": [{"index": {"byteStart": 0, "byteEnd": 4}, "features": FEATURES}],
        "entities": [{"index": {"start": 0, "end": 4}, "type": "mention", "value": "x"}],
        "labels": {"$type": "com.atproto.label.defs#selfLabels", "values": [{"val": "porn"}]},
        "embed": embed("recordWithMedia"),
    }
    return record | fields


SELVES = {
    "app.bsky.labeler.service",
    "app.bsky.actor.profile",
    "app.bsky.actor.status",
    "app.bsky.notification.declaration",
    "chat.bsky.actor.declaration",
    "com.germnetwork.declaration",
}
"""Collections of which an account has one record, under the key `self`."""


def event_of(record: dict[str, Any] | bytes, collection: str | None = None) -> Event:
    """A create of the record, given as a value or as JSON."""
    if isinstance(record, bytes):
        text = record
    else:
        text = json.dumps(record).encode()
        collection = collection or str(record.get("$type"))
    moment = 1731824491461334
    rkey = "self" if collection in SELVES else "3lb4rbqitunyc"
    return Event(1, DID, "commit", "create", collection, rkey, "r", CID, text, moment)


def record_event(message: object) -> Event | None:
    """The create or update in a decoded Jetstream message, unchecked; None for any other."""
    match message:
        case {
            "did": str(did),
            "time_us": int(time_us),
            "commit": {
                "operation": str(action),
                "collection": str(collection),
                "rkey": str(rkey),
                "record": record,
                "cid": str(cid),
            },
        } if 0 <= time_us <= TIME_US_MAX:
            text = json.dumps(record).encode()
            return Event(1, did, "commit", action, collection, rkey, None, cid, text, time_us)
    return None


def assert_storable(projection: Projection, row: Row) -> None:
    """Fails unless the row has the table's columns, of text (or JSON text) that Postgres takes, and
    such rows of the child tables."""
    width = len(projection.table.columns)
    for column, cell in zip(projection.cells[:width], row[:width], strict=True):
        assert_text(cell, is_json=column in projection.table.types)
    for child, inner in zip(projection.children, row[width:], strict=True):
        assert inner is None or inner
        for one in inner or ():
            assert len(one) == len(child.columns)
            assert one[0] == row[0]
            for cell in one:
                assert_text(cell)


def assert_text(cell: object, *, is_json: bool = False) -> None:
    if cell is None:
        return
    assert isinstance(cell, str)
    cell.encode()
    texts = json.loads(cell) if is_json else [cell]
    assert not any("\0" in text for text in texts)


def golden(name: str) -> Iterator[Any]:
    """The values in a gzipped file of JSON lines under `golden/`; none if there is no file."""
    path = require_shared() / "golden" / name
    if path.exists():
        with gzip.open(path) as file:
            yield from map(json.loads, file)
