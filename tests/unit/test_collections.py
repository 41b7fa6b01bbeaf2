"""Records of every collection: a good one makes its row, one that breaks a rule says which.

The rules are those of the lexicons, in dataplane.md 6; each is broken by itself.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from events.event import Event
from projections.record import records
from projector.declare import InvalidRecord, Projection
from tests.support.engine import ALL
from tests.support.records import BLOB_CID, CID, DID, MOMENT, assert_storable, blob, event_of
from tests.support.samples import LIST_URI, POST_URI, SAMPLES, sample, without

TYPED = {p.collection: p for p in ALL if isinstance(p, Projection) and not p.also}
RECORD = records.decoder()

REQUIRED = {
    "app.bsky.graph.block": ("subject", "createdAt"),
    "app.bsky.graph.listblock": ("subject", "createdAt"),
    "app.bsky.graph.listitem": ("subject", "list", "createdAt"),
    "app.bsky.graph.list": ("name", "purpose", "createdAt"),
    "app.bsky.graph.starterpack": ("name", "list", "createdAt"),
    "app.bsky.feed.generator": ("did", "displayName", "createdAt"),
    "app.bsky.labeler.service": ("policies", "createdAt"),
    "app.bsky.feed.threadgate": ("post", "createdAt"),
    "app.bsky.feed.postgate": ("post", "createdAt"),
    "app.bsky.graph.verification": ("subject", "handle", "displayName", "createdAt"),
    "app.bsky.graph.referencelistoptout": ("subject", "createdAt"),
    "app.bsky.actor.profile": (),
    "app.bsky.actor.status": ("status", "createdAt"),
    "app.bsky.notification.declaration": ("allowSubscriptions",),
    "com.germnetwork.declaration": ("version", "currentKey"),
}
OTHER = "did:plc:" + 24 * "a"
FACET = {"index": {"byteStart": -1, "byteEnd": 1}, "features": []}
BIG = blob(size=1_000_001)
DEFINITION = SAMPLES["app.bsky.labeler.service"]["policies"]["labelValueDefinitions"][0]


def policies(**fields: Any) -> dict[str, Any]:
    return {"labelValues": [], "labelValueDefinitions": [DEFINITION | fields]}


# Collection, the fields that break a rule, and what the message must say.
BROKEN: list[tuple[str, dict[str, Any], str]] = [
    ("app.bsky.graph.block", {"subject": "x"}, "Expected a DID"),
    ("app.bsky.graph.listblock", {"subject": DID}, "Expected an at-uri"),
    ("app.bsky.graph.listitem", {"list": LIST_URI.replace(DID, OTHER)}, "list of the same repo"),
    ("app.bsky.graph.list", {"name": ""}, "at least 1 byte"),
    ("app.bsky.graph.list", {"name": 33 * "ä"}, "at most 64 bytes"),
    ("app.bsky.graph.list", {"description": "x" * 301}, "at most 300 graphemes"),
    ("app.bsky.graph.list", {"descriptionFacets": [FACET]}, "byteStart"),
    ("app.bsky.graph.list", {"avatar": BIG}, "at most 1000000 bytes"),
    ("app.bsky.graph.list", {"avatar": blob("image/webp")}, "Expected image/png"),
    ("app.bsky.graph.list", {"avatar": {"cid": BLOB_CID, "mimeType": "image/png"}}, "avatar"),
    ("app.bsky.graph.list", {"avatar": None}, "got `null`"),
    ("app.bsky.graph.starterpack", {"name": "x" * 51}, "at most 50 graphemes"),
    ("app.bsky.graph.starterpack", {"name": ""}, "at least 1 byte"),
    ("app.bsky.graph.starterpack", {"list": "x"}, "Expected an at-uri"),
    ("app.bsky.graph.starterpack", {"feeds": 4 * [{"uri": POST_URI}]}, "length <= 3"),
    ("app.bsky.graph.starterpack", {"feeds": [{"uri": "x"}]}, r"feeds\[0\].uri"),
    ("app.bsky.feed.generator", {"did": "x"}, "Expected a DID"),
    ("app.bsky.feed.generator", {"displayName": "x" * 25}, "at most 24 graphemes"),
    ("app.bsky.feed.generator", {"acceptsInteractions": 1}, "Expected `bool`"),
    ("app.bsky.labeler.service", {"policies": {}}, "labelValues"),
    ("app.bsky.labeler.service", {"policies": policies(identifier="x" * 101)}, "100 bytes"),
    ("app.bsky.labeler.service", {"policies": policies(locales=[{"lang": "en"}])}, "name"),
    ("app.bsky.labeler.service", {"subjectCollections": ["x"]}, "Expected an NSID"),
    ("app.bsky.feed.threadgate", {"post": POST_URI + "x"}, "same repo and record key"),
    ("app.bsky.feed.threadgate", {"post": POST_URI.replace(DID, OTHER)}, "same repo"),
    ("app.bsky.feed.threadgate", {"allow": 6 * [{"$type": "a.b.c"}]}, "length <= 5"),
    ("app.bsky.feed.threadgate", {"allow": [{"x": 1}]}, r"\$type"),
    ("app.bsky.feed.threadgate",
     {"allow": [{"$type": "app.bsky.feed.threadgate#listRule", "list": "x"}]}, "an at-uri"),
    ("app.bsky.feed.threadgate", {"hiddenReplies": 301 * [POST_URI]}, "length <= 300"),
    ("app.bsky.feed.postgate", {"post": POST_URI + "x"}, "same repo and record key"),
    ("app.bsky.feed.postgate", {"detachedEmbeddingUris": 51 * [POST_URI]}, "length <= 50"),
    ("app.bsky.feed.postgate", {"embeddingRules": 6 * [{"$type": "a.b.c"}]}, "length <= 5"),
    ("app.bsky.graph.verification", {"handle": "x"}, "Expected a handle"),
    ("app.bsky.graph.referencelistoptout", {"subject": "x"}, "Expected an at-uri"),
    ("app.bsky.actor.profile", {"displayName": "x" * 65}, "at most 64 graphemes"),
    ("app.bsky.actor.profile", {"description": "x" * 257}, "at most 256 graphemes"),
    ("app.bsky.actor.profile", {"pronouns": "x" * 21}, "at most 20 graphemes"),
    ("app.bsky.actor.profile", {"website": "x"}, "Expected a URI"),
    ("app.bsky.actor.profile", {"banner": BIG}, "at most 1000000 bytes"),
    ("app.bsky.actor.profile", {"pinnedPost": {"uri": POST_URI}}, "cid"),
    ("app.bsky.actor.profile", {"createdAt": "2024"}, "Expected a datetime"),
    ("app.bsky.actor.status", {"durationMinutes": 0}, ">= 1"),
    ("app.bsky.actor.status", {"embed": {"x": 1}}, r"\$type"),
    ("com.germnetwork.declaration", {"version": "1.0"}, "5 to 14 bytes"),
    ("com.germnetwork.declaration", {"currentKey": "x"}, "currentKey"),
    ("com.germnetwork.declaration",
     {"messageMe": {"messageMeUrl": "x", "showButtonTo": "none"}}, "Expected a URI"),
]  # fmt: skip


def event(record: dict[str, Any], rkey: str | None = None) -> Event:
    found = event_of(record)
    return msgspec.structs.replace(found, rkey=rkey or found.rkey)


@pytest.mark.parametrize("collection", SAMPLES)
def test_a_good_record_makes_its_row(collection: str) -> None:
    made = event(sample(collection))
    uri = f"at://{DID}/{collection}/{made.rkey}"
    kept = RECORD(made)
    assert kept is not None
    assert kept[:3] == (uri, CID, DID)
    assert json.loads(kept[3]) == sample(collection)
    if collection in TYPED:
        row = TYPED[collection].decoder()(made)
        assert row is not None
        assert row[:2] == (uri, CID)
        assert DID in row
        assert MOMENT in row
        assert_storable(TYPED[collection], row)


@pytest.mark.parametrize(("collection", "field"),
                         [(c, f) for c, fields in REQUIRED.items() for f in fields])  # fmt: skip
def test_what_is_required_must_be_there(collection: str, field: str) -> None:
    with pytest.raises(InvalidRecord, match=f"required field `{field}`"):
        RECORD(event(without(sample(collection), field)))


@pytest.mark.parametrize(("collection", "fields", "why"), BROKEN)
def test_a_broken_rule_is_named(collection: str, fields: dict[str, Any], why: str) -> None:
    made = event(sample(collection, **fields))
    with pytest.raises(InvalidRecord, match=why):
        RECORD(made)
    if collection in TYPED:
        with pytest.raises(InvalidRecord, match=why):
            TYPED[collection].decoder()(made)


@pytest.mark.parametrize("collection", SAMPLES)
def test_unknown_fields_are_kept_in_record(collection: str) -> None:
    record = sample(collection, unheard={"of": [None, 1.5, "x"]})
    kept = RECORD(event(record))
    assert kept is not None
    assert json.loads(kept[3]) == record


@pytest.mark.parametrize("collection", ["app.bsky.actor.profile", "app.bsky.labeler.service"])
def test_under_another_key_than_self_there_is_only_a_record(collection: str) -> None:
    made = event(sample(collection), rkey="other")
    assert TYPED[collection].decoder()(made) is None
    assert RECORD(made) is not None


@pytest.mark.parametrize(
    "subject",
    [
        DID,
        "example.com",
        f"{DID}/app.bsky.graph.list",
        f"{DID}/app.bsky.feed.post/x",
        f"{DID}/app.bsky.graph.list/x#/a",
        "example.com/app.bsky.graph.list/x",
    ],
)
def test_an_opt_out_of_what_is_no_list_is_only_a_record(subject: str) -> None:
    made = event(sample("app.bsky.graph.referencelistoptout", subject=f"at://{subject}"))
    assert TYPED[made.collection or ""].decoder()(made) is None
    assert RECORD(made) is not None


def test_a_profile_without_a_date_has_that_of_its_event() -> None:
    made = event(without(sample("app.bsky.actor.profile"), "createdAt"))
    row = TYPED["app.bsky.actor.profile"].decoder()(made)
    assert row is not None
    columns = dict(zip(TYPED["app.bsky.actor.profile"].table.columns, row, strict=True))
    assert columns["createdAt"] == columns["indexedAt"] == made.indexed_at


def test_any_chat_declaration_is_kept() -> None:
    made = event({"$type": "chat.bsky.actor.declaration", "allowIncoming": 5})
    assert RECORD(made) is not None
