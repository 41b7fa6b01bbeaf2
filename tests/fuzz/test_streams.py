"""Entries of a Redis stream that nobody promised anything of: each is kept, whole or cut."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from events.event import Undecodable
from events.streams.stream import SLUG, Entry, dead_letter, field_of
from tests.support.histories import budget

BYTES_MAX = 64
names = st.sampled_from([b"event", b"raw", b"reason", b"error", b"seq", b"\xff", b""])
fields = st.lists(st.tuples(names, st.binary(max_size=100)), max_size=5)


@budget(500)
@given(pairs=fields)
def test_an_entry_without_an_event_is_a_letter(pairs: list[tuple[bytes, bytes]]) -> None:
    entry: Entry = (b"17-4", [part for pair in pairs for part in pair])
    for name, _ in pairs:
        assert field_of(entry, name) == [value for key, value in pairs if key == name][-1]
    letter = dead_letter(entry, BYTES_MAX)
    assert isinstance(letter, Undecodable)
    assert letter.source_cursor == "17-4"
    assert SLUG.fullmatch(letter.reason)
    assert len(letter.raw) <= BYTES_MAX
    assert "\n" not in letter.error and len(letter.error) <= 1000
    raws = [value for key, value in pairs if key == b"raw"]
    if raws:
        assert letter.raw == raws[-1][:BYTES_MAX]
