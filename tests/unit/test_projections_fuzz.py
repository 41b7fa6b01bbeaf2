"""Records with anything anywhere: they make a row that Postgres can store, or are invalid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from projections.post import posts
from projector.declare import InvalidRecord, Projection
from tests.support.engine import ALL
from tests.support.records import (
    CID,
    DID,
    EMBEDS,
    IMAGE,
    MOMENT,
    RATIO,
    REF,
    assert_storable,
    blob,
    embed,
    event_of,
    follow,
    like,
    post,
)
from tests.support.samples import SAMPLES, sample

PROJECTIONS = {p.collection: p for p in ALL if isinstance(p, Projection) and not p.also}
DECODERS = {collection: p.decoder() for collection, p in PROJECTIONS.items()}
REPOST = like() | {"$type": "app.bsky.feed.repost"}
GOOD = [like(), REPOST, follow(), post(), *(post(embed=embed(kind)) for kind in EMBEDS),
        *(sample(name) for name in SAMPLES if name in PROJECTIONS)]  # fmt: skip


def paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a JSON value below the root."""
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for key, inner in items:
        yield (*path, key)
        yield from paths(inner, (*path, key))


ODD_TEXTS = ["", "\0", "\ud800", "\udc00x", "a\0b", "\u2028", "x" * 4000, "at://", "did:plc:", CID]
texts = st.sampled_from(ODD_TEXTS) | st.text(
    st.characters() | st.characters(categories=["Cs"]), max_size=20
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | texts
    | st.sampled_from([REF, blob(), IMAGE, RATIO, MOMENT, DID, embed("video")])
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
places = [(record, path) for record in GOOD for path in paths(record)]


def put(record: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = deepcopy(record)
    at: Any = changed
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return changed


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(places), values, st.booleans())
def test_anything_anywhere(
    place: tuple[dict[str, Any], tuple[Any, ...]], value: Any, ascii_only: bool
) -> None:
    record, path = place
    projection = PROJECTIONS[record["$type"]]
    text = json.dumps(put(record, path, value), ensure_ascii=ascii_only)
    json_bytes = text.encode(errors="surrogatepass")
    try:
        row = DECODERS[projection.collection](event_of(json_bytes, projection.collection))
    except InvalidRecord as error:
        str(error).encode()
        return
    if row is not None:
        assert_storable(projection, row)


@settings(max_examples=200, deadline=None)
@given(texts, st.lists(texts, max_size=8), texts, st.booleans())
def test_any_text_is_stored(text: str, tags: list[str], unknown: str, ascii_only: bool) -> None:
    record = post(text=text[:300], tags=[tag[:64] for tag in tags]) | {"x" + unknown: unknown}
    json_bytes = json.dumps(record, ensure_ascii=ascii_only).encode(errors="replace")
    row = DECODERS[posts.collection](event_of(json_bytes, posts.collection))
    assert row is not None
    assert_storable(posts, row)


def test_deep_nesting_is_an_invalid_record() -> None:
    deep = b'{"$type": "app.bsky.feed.post", "x": ' + b"[" * 100_000
    with pytest.raises(InvalidRecord):
        DECODERS["app.bsky.feed.post"](event_of(deep, "app.bsky.feed.post"))
