"""Byte mutations of real messages, and of the pieces that trouble decoders."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from hypothesis import strategies as st

from tests.support.corpus import firehose_lines, hostile_inputs

PIECES: tuple[bytes, ...] = (
    b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"null", b"true", b"-", b".", b"e9", b"0",
    b"1e400", b"-0.0", b"9223372036854775808", b"253402300799999999", b"1" * 5000,
    b"\\u0000", b"\\ud800", b"\\udfff\\ud800", b"\\ud83d\\ude00", b"\\u", b"\x00", b"\xff",
    b"\xed\xa0\x80", b"\xc0\xaf", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\n", b"\r", b"\t", b" " * 99,
    b"[" * 70, b'{"a":' * 70, b"[" * 3000, b'"record":{}', b'"did":"did:plc:x"', b'"commit":{',
    b'"kind":"sync"', b'"operation":"delete"', b'"type":"create"', b'"time":"2026"', b"x" * 600,
)  # fmt: skip


@functools.cache
def real_messages() -> tuple[bytes, ...]:
    """Captured messages, and the hostile ones of a size that can be mutated often."""
    short = [raw for raw in hostile_inputs().values() if len(raw) < 4000]
    return tuple(firehose_lines() + short)


Edit = tuple[str, float, int, bytes]
edits: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(("put", "put", "cut", "repeat", "swap", "flip", "end")),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 12) | st.integers(0, 400),
        st.sampled_from(PIECES) | st.binary(max_size=4),
    ),
    min_size=1,
    max_size=5,
)


def edited(raw: bytes, todo: Sequence[Edit]) -> bytes:
    """The message with the edits made, one after the other."""
    for what, place, size, piece in todo:
        at = int(place * (len(raw) + 1))
        head, middle, rest = raw[:at], raw[at : at + size], raw[at + size :]
        if what == "put":
            raw = head + piece + middle + rest
        elif what == "cut":
            raw = head + rest
        elif what == "repeat":
            raw = head + middle + middle + rest
        elif what == "swap":
            raw = head + piece + rest
        elif what == "flip" and middle:
            raw = head + bytes([middle[0] ^ (1 << size % 8)]) + middle[1:] + rest
        elif what == "end":
            raw = head
    return raw


def mutated(messages: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Messages with a few edits in each."""
    return st.builds(edited, st.sampled_from(messages), edits)


def joined(messages: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """The beginning of one message with the end of another."""

    def join(one: bytes, other: bytes, place: float) -> bytes:
        at = int(place * len(one))
        return one[:at] + other[int(place * len(other)) :]

    return st.builds(join, st.sampled_from(messages), st.sampled_from(messages), st.floats(0, 1))


def any_bytes(messages: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Mostly nearly messages, sometimes none at all."""
    return st.one_of(
        mutated(messages), mutated(messages), joined(messages), st.binary(max_size=300)
    )
