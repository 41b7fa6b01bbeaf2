"""The lexicon's limits, met and overstepped by one."""

from __future__ import annotations

from typing import Any

import pytest

from projections.follow import follows
from projections.like import likes
from projections.post import posts
from projections.repost import reposts
from projector.declare import ERROR_CHARS_MAX, InvalidRecord, Row, without_lone_surrogates
from tests.support.records import (
    BLOB_CID,
    CAPTION,
    CID,
    DID,
    EMBEDS,
    IMAGE,
    MOMENT,
    PAGE,
    RATIO,
    REF,
    blob,
    embed,
    event_of,
    follow,
    like,
    post,
)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"  # 1 grapheme, 5 characters, 18 bytes
SAFE_INTEGER_MAX = 2**53 - 1
PROJECTIONS = {p.collection: p for p in (posts, follows, likes, reposts)}
DECODERS = {collection: p.decoder() for collection, p in PROJECTIONS.items()}
REPOST = like() | {"$type": "app.bsky.feed.repost"}
SAMPLES = [like(), REPOST, follow(), post(), *(post(embed=embed(kind)) for kind in EMBEDS)]


def row_of(record: dict[str, Any]) -> Row:
    return DECODERS[record["$type"]](event_of(record))


def images(**fields: Any) -> dict[str, Any]:
    return post(embed=embed("images", images=[IMAGE | fields]))


def gallery(**fields: Any) -> dict[str, Any]:
    item = {"$type": "app.bsky.embed.gallery#image"} | IMAGE | fields
    return post(embed=embed("gallery", items=[item]))


def external(**fields: Any) -> dict[str, Any]:
    return post(embed=embed("external", external=PAGE | fields))


def feature(kind: str, **fields: Any) -> dict[str, Any]:
    one = {"$type": f"app.bsky.richtext.facet#{kind}"} | fields
    return post(facets=[{"index": {"byteStart": 0, "byteEnd": 0}, "features": [one]}])


def facet(start: Any, end: Any) -> dict[str, Any]:
    return post(facets=[{"index": {"byteStart": start, "byteEnd": end}, "features": []}])


def labels(values: list[Any]) -> dict[str, Any]:
    return post(labels={"$type": "com.atproto.label.defs#selfLabels", "values": values})


def quote(**fields: Any) -> dict[str, Any]:
    return post(embed=embed("record", record=REF | fields))


def media(value: Any) -> dict[str, Any]:
    return post(embed=embed("recordWithMedia", media=value))


def video(**fields: Any) -> dict[str, Any]:
    return post(embed=embed("video", **fields))


def caption(**fields: Any) -> dict[str, Any]:
    return video(captions=[CAPTION | fields])


ACCEPTED = {
    "text of 300 characters": post(text="x" * 300),
    "text of 300 graphemes": post(text="e\u0301" * 300),
    "text of 3000 bytes": post(text=FAMILY * 166 + "x" * 12),
    "no text": post(text=""),
    "no languages": post(langs=[]),
    "3 languages": post(langs=["en", "fr", "de"]),
    "8 tags": post(tags=["x"] * 8),
    "tag of 64 characters": post(tags=["\U0001f600" * 64]),
    "tag of 640 bytes": post(tags=[FAMILY * 35 + "x" * 10]),
    "no images": post(embed=embed("images", images=[])),
    "4 images": post(embed=embed("images", images=[IMAGE] * 4)),
    "image of 2 MB": images(image=blob(size=2_000_000)),
    "20 gallery items": post(embed=embed("gallery", items=[{"$type": "com.example.item"}] * 20)),
    "gallery image of 2 MB": gallery(image=blob(size=2_000_000)),
    "thumb of 1 MB": external(thumb=blob(size=1_000_000)),
    "video of 300 MB": video(video=blob("video/mp4", 300_000_000)),
    "20 captions": video(captions=[CAPTION] * 20),
    "caption of 20 kB": caption(file=blob("text/vtt", 20_000)),
    "10 labels": labels([{"val": "x"}] * 10),
    "label of 128 bytes": labels([{"val": "x" * 128}]),
    "facet that ends before it starts": facet(9, 1),
    "facet at the last safe integer": facet(0, SAFE_INTEGER_MAX),
    "facet tag of 64 characters": feature("tag", tag="x" * 64),
    "unknown embed": post(embed={"$type": "com.example.embed"}),
    "unknown media": media({"$type": "com.example.media", "images": 5}),
    "unknown labels": post(labels={"$type": "com.example.labels", "values": 5}),
    "unknown fields": post(x={"y": [1.5, None, 2**60]}),
    "stated type": like(subject=REF | {"$type": "com.atproto.repo.strongRef"}),
    "reply to a handle": post(reply={"root": REF, "parent": REF | {"uri": "at://a.test/a.b.c/d"}}),
    "ratio 1 to 1": images(aspectRatio={"width": 1, "height": 1}),
    "quote of a handle": quote(uri="at://a.test"),
}
REFUSED = {
    "$.text": [
        post(text="x" * 301),
        post(text=FAMILY * 166 + "x" * 13),
        post(text=None),
        post(text=5),
    ],
    "$.createdAt": [post(createdAt="2024-01-01"), like(createdAt=""), follow(createdAt=None)],
    "$.langs": [post(langs=["en"] * 4), post(langs=None)],
    "$.langs[1]": [post(langs=["en", "en_US"])],
    "$.tags": [post(tags=["x"] * 9)],
    "$.tags[0]": [post(tags=["x" * 65]), post(tags=[FAMILY * 35 + "x" * 11])],
    "$.embed": [post(embed=None), post(embed=[]), post(embed={"images": []})],
    "$.embed.$type": [post(embed={"$type": 5})],
    "$.embed.images": [post(embed=embed("images", images=[IMAGE] * 5))],
    "$.embed.images[0]": [post(embed=embed("images", images=[{"image": blob()}]))],
    "$.embed.images[0].$type": [images(**{"$type": "app.bsky.embed.gallery#image"})],
    "$.embed.images[0].image": [images(image={"cid": BLOB_CID, "mimeType": "image/png"})],
    "$.embed.images[0].image.size": [
        images(image=blob(size=2_000_001)),
        images(image=blob(size=-1)),
        images(image=blob() | {"size": 1.5}),
    ],
    "$.embed.images[0].image.mimeType": [images(image=blob("video/mp4"))],
    "$.embed.images[0].image.ref": [images(image=blob() | {"ref": {"$link": CID}})],
    "$.embed.images[0].image.$type": [images(image=blob() | {"$type": "x"})],
    "$.embed.images[0].aspectRatio.width": [images(aspectRatio=RATIO | {"width": 0})],
    "$.embed.items": [post(embed=embed("gallery", items=[{"$type": "x"}] * 21))],
    "$.embed.items[0]": [post(embed=embed("gallery", items=[IMAGE]))],
    "$.embed.items[0].image.size": [gallery(image=blob(size=2_000_001))],
    "$.embed.external.thumb.size": [external(thumb=blob(size=1_000_001))],
    "$.embed.external.uri": [external(uri="no uri")],
    "$.embed.external.associatedRefs[0].cid": [external(associatedRefs=[REF | {"cid": "x"}])],
    "$.embed.video.size": [video(video=blob("video/mp4", 300_000_001))],
    "$.embed.video.mimeType": [video(video=blob("video/mp42"))],
    "$.embed.captions": [video(captions=[CAPTION] * 21)],
    "$.embed.captions[0].file.size": [caption(file=blob("text/vtt", 20_001))],
    "$.embed.captions[0].lang": [caption(lang="!!")],
    "$.embed.record.cid": [quote(cid="x")],
    "$.embed.record.record.uri": [
        post(embed=embed("recordWithMedia", record={"record": REF | {"uri": "https://a.test"}}))
    ],
    "$.embed.media": [media({}), media(None)],
    "$.embed.media.images": [media(embed("images", images=[IMAGE] * 5))],
    "$.labels": [post(labels={"values": []})],
    "$.labels.values": [labels([{"val": "x"}] * 11)],
    "$.labels.values[0].val": [labels([{"val": "x" * 129}])],
    "$.facets[0].index.byteStart": [facet(-1, 0), facet(1.0, 2)],
    "$.facets[0].index.byteEnd": [facet(0, SAFE_INTEGER_MAX + 1), facet(0, 2**64)],
    "$.facets[0].features[0]": [feature("tag"), feature("mention", uri="x")],
    "$.facets[0].features[0].tag": [feature("tag", tag="x" * 65)],
    "$.facets[0].features[0].did": [feature("mention", did="bob")],
    "$.facets[0].features[0].uri": [feature("link", uri="no uri")],
    "$.entities[0].index.start": [
        post(entities=[{"index": {"start": -1, "end": 0}, "type": "x", "value": "x"}])
    ],
    "$.reply": [post(reply=None), post(reply={"root": REF})],
    "$.reply.$type": [post(reply={"root": REF, "parent": REF, "$type": "x"})],
    "$.reply.root.uri": [post(reply={"root": REF | {"uri": "at://a.test/a.b.c/d"}, "parent": REF})],
    "$.reply.parent.cid": [post(reply={"root": REF, "parent": REF | {"cid": "x"}})],
    "$.subject": [follow(subject="bob"), like(subject=None), like(subject="at://x")],
    "$.subject.uri": [like(subject=REF | {"uri": "at://"})],
    "$.subject.cid": [like(subject=REF | {"cid": 2}), REPOST | {"subject": {**REF, "cid": ""}}],
    "$.via": [like(via=None), follow(via=None)],
    "$.via.cid": [like(via=REF | {"cid": "x"}), follow(via=REF | {"cid": "x"})],
}


@pytest.mark.parametrize("record", ACCEPTED.values(), ids=ACCEPTED)
def test_at_the_limit(record: dict[str, Any]) -> None:
    row_of(record)


@pytest.mark.parametrize(
    ("path", "record"), [(path, record) for path, records in REFUSED.items() for record in records]
)
def test_beyond_the_limit(path: str, record: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord) as refusal:
        row_of(record)
    assert str(refusal.value).endswith(f" - at `{path}`")


@pytest.mark.parametrize("record", SAMPLES)
def test_type_is_required_and_that_of_the_collection(record: dict[str, Any]) -> None:
    collection = record["$type"]
    for value in ({"$type": "app.bsky.feed.generator"}, {"$type": None}, {"$type": "\0" * 1000}):
        with pytest.raises(InvalidRecord) as refusal:
            DECODERS[collection](event_of(record | value, collection))
        assert "\0" not in str(refusal.value)
        assert len(str(refusal.value)) <= ERROR_CHARS_MAX
    del (without := dict(record))["$type"]
    with pytest.raises(InvalidRecord, match=r"\$type"):
        DECODERS[collection](event_of(without, collection))


def test_sample_rows() -> None:
    reference = (REF["uri"], CID)
    at = (MOMENT, "2024-11-17T06:21:31.461Z")
    assert row_of(like())[2:] == (DID, *reference, *at, *reference)
    assert row_of(follow())[2:] == (DID, DID, *at)
    lists = ('["en","pt-BR"]', '["a","b"]')
    made = row_of(post())
    assert made[2:12] == (DID, "text", *reference, *reference, *at, *lists)
    # The child tables: image, external, record, video, gallery image, quote, mention.
    image, record = (made[0], "0", BLOB_CID, "a"), (made[0], *reference)
    quote = (made[0], CID, *reference, *at)
    assert made[12:] == ((image,), None, (record,), None, None, (quote,), ((made[0], DID),))
    bare = {"$type": "app.bsky.feed.post", "text": "", "createdAt": MOMENT}
    assert row_of(bare)[3:] == ("", None, None, None, None, *at, None, None, *[None] * 7)


def test_every_kind_of_embed_has_its_rows() -> None:
    uri, ref = row_of(post())[0], (REF["uri"], CID)
    made = {kind: row_of(post(embed=embed(kind)))[12:18] for kind in EMBEDS}
    page = (uri, "https://example.com", "t", "d", BLOB_CID)
    image = (uri, "0", BLOB_CID, "a")
    assert made["images"] == ((image,), None, None, None, None, None)
    assert made["external"] == (None, (page,), None, None, None, None)
    assert made["video"] == (None, None, None, ((uri, BLOB_CID, "a"),), None, None)
    assert made["gallery"] == (None, None, None, None, (image,), None)
    assert made["record"][2] == ((uri, *ref),)
    assert made["record"][5] is not None
    # Of an unknown kind an item has a position and no row; one of a list is no quote.
    unknown = {"$type": "com.example.item"}
    items = [EMBEDS["gallery"]["items"][0], unknown, EMBEDS["gallery"]["items"][0]]
    rows = row_of(post(embed=embed("gallery", items=items)))[16]
    assert [row[1] for row in rows] == ["0", "2"]
    other = {"uri": f"at://{DID}/app.bsky.graph.list/x", "cid": CID}
    assert row_of(post(embed=embed("record", record=other)))[12:18] == (
        None, None, ((uri, other["uri"], CID),), None, None, None)  # fmt: skip


def test_only_lone_surrogates_are_replaced() -> None:
    pair, escaped = rb"\ud83d\ude00", rb"\\ud800 \\\\udc00 \n \u0000"
    assert without_lone_surrogates(pair + escaped) == pair + escaped
    assert without_lone_surrogates(rb"\uD800" + pair + rb"\\\uDFFF") == (
        rb"\ufffd" + pair + rb"\\\ufffd"
    )
