"""Records of every projection, mutated byte by byte: a row that can be stored, or invalid."""

from __future__ import annotations

import functools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from events.jetstream_wire import JetstreamDecoder
from projections.like import likes
from projections.post import posts
from projector.declare import ERROR_CHARS_MAX, InvalidRecord, Projection
from projector.fold import Folder, Window
from tests.fuzz.mutations import any_bytes
from tests.fuzz.properties import bounded
from tests.fuzz.test_wires import BOMBS, MIB
from tests.support.corpus import golden_lines
from tests.support.engine import ALL
from tests.support.histories import budget
from tests.support.records import EMBEDS, assert_storable, embed, event_of, follow, like, post
from tests.support.samples import SAMPLES, sample

SAMPLES_MAX = 150
TYPED = [p for p in ALL if isinstance(p, Projection) and not p.also]


@functools.cache
def records_of(collection: str) -> tuple[bytes, ...]:
    """Records as captured, the shortest and the longest among them, and ones that have it all."""
    made = [like(), like() | {"$type": "app.bsky.feed.repost"}, follow(), post()]
    made += [post(embed=embed(kind)) for kind in EMBEDS]
    made += [sample(name) for name in SAMPLES]
    own = [json.dumps(r).encode() for r in made if r["$type"] == collection]
    decode = JetstreamDecoder().decode
    events = [e for e in map(decode, golden_lines()) if isinstance(e, Event)]
    real = {e.record for e in events if e.record and e.collection == collection}
    return (*own, *sorted(real, key=lambda raw: (len(raw), raw))[:: len(real) // SAMPLES_MAX + 1])


@budget(500)
@given(data=st.data(), projection=st.sampled_from(TYPED))
def test_any_bytes_as_a_record(data: st.DataObject, projection: Projection) -> None:
    raw = data.draw(any_bytes(records_of(projection.collection)))
    event = event_of(raw, projection.collection)
    try:
        row = projection.decoder()(event)
    except InvalidRecord as error:
        # A letter's text can be stored, and is no longer than a letter may be.
        assert len(str(error)) <= ERROR_CHARS_MAX
        assert b"\0" not in str(error).encode()
        return
    if row is not None:
        assert_storable(projection, row)
        assert row[0] == event.uri


@budget(100)
@given(
    data=st.data(),
    projection=st.sampled_from(TYPED),
    actions=st.lists(st.sampled_from(("create", "update", "delete")), min_size=1, max_size=6),
)
def test_any_bytes_in_a_window(
    data: st.DataObject, projection: Projection, actions: list[str]
) -> None:
    """Every event of a window is in its effect, in a letter, or makes no row."""
    raws = [data.draw(any_bytes(records_of(projection.collection))) for _ in actions]
    usual = event_of(b"{}", projection.collection)
    window = Window(
        0,
        len(actions),
        [
            Event(
                n, usual.did, "commit", action, usual.collection, f"r{n}", f"3lb4rbqituny{n}",
                usual.cid, None if action == "delete" else raw, usual.time_us,
            )
            for n, (action, raw) in enumerate(zip(actions, raws, strict=True), 1)
        ],
        [],
    )  # fmt: skip
    whole, folded = Folder(projection).fold_beginning(window)
    assert whole.through == window.through
    done = len(folded.gone) + len(folded.fresh) + len(folded.changed) + len(folded.letters)
    assert done + sum(is_without_row(projection, event) for event in window.commits) == len(actions)


def is_without_row(projection: Projection, event: Event) -> bool:
    """Whether it is a create of a valid record that has no row, as some at another key than self:
    nothing is to be done for it."""
    try:
        return event.action == "create" and projection.decoder()(event) is None
    except InvalidRecord:
        return False


@pytest.mark.parametrize("projection", [posts, likes], ids=lambda p: p.name)
@pytest.mark.parametrize("name", BOMBS)
def test_a_megabyte_of_malice_as_a_record(projection: Projection, name: str) -> None:
    """By itself, and as the value of a member that nobody asked for."""
    decode = projection.decoder()
    sample = records_of(projection.collection)[0]
    for raw in (BOMBS[name], sample[:-1] + b',"more":' + BOMBS[name] + b"}"):
        with bounded(seconds=3, bytes_max=96 * MIB):
            try:
                row = decode(event_of(raw, projection.collection))
                assert row is not None
                assert_storable(projection, row)
            except InvalidRecord as error:
                assert len(str(error)) <= ERROR_CHARS_MAX
