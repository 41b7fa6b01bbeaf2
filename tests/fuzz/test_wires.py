"""Jetstream's JSON and rsky's Redis form: nothing raises, nothing is lost, all comes back."""

from __future__ import annotations

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events import jetstream_wire, redis_wire
from events.event import Decoded, Event, Undecodable, Wanted
from events.jetstream_wire import JetstreamDecoder
from events.redis_wire import RedisDecoder
from tests.fuzz.mutations import any_bytes, real_messages
from tests.fuzz.properties import LIMITS, assert_documented, bounded, facts
from tests.support.histories import budget

JETSTREAM = JetstreamDecoder(LIMITS)
REDIS = RedisDecoder(LIMITS)
SOME_WANTED = JetstreamDecoder(LIMITS, Wanted(["app.bsky.feed.*", "app.bsky.graph.follow"]))


@functools.cache
def redis_messages() -> tuple[bytes, ...]:
    """The real messages as they are in a Redis stream."""
    decoded = [JETSTREAM.decode(raw) for raw in real_messages()]
    return tuple(redis_wire.encode(event) for event in decoded if isinstance(event, Event))


@budget(600)
@given(raw=st.deferred(lambda: any_bytes(real_messages())))
def test_any_bytes_on_jetstreams_wire(raw: bytes) -> None:
    decoded = JETSTREAM.decode(raw)
    assert_documented(decoded, raw)
    assert_documented(SOME_WANTED.decode(raw), raw)
    if isinstance(decoded, Event):
        again = JETSTREAM.decode(jetstream_wire.encode(decoded))
        assert_comes_back(again, decoded)
        through_redis = REDIS.decode(redis_wire.encode(decoded), "1-1")
        assert_comes_back(through_redis, decoded)


@budget(600)
@given(raw=st.deferred(lambda: any_bytes(redis_messages())))
def test_any_bytes_on_the_redis_wire(raw: bytes) -> None:
    decoded = REDIS.decode(raw, "5-0")
    assert_documented(decoded, raw)
    if isinstance(decoded, Event):
        assert_comes_back(REDIS.decode(redis_wire.encode(decoded), "5-0"), decoded)


def assert_comes_back(again: Decoded, event: Event) -> None:
    """Encoded and decoded it is the same event; unless the envelope made it too large."""
    if isinstance(again, Undecodable) and again.reason == "too-large":
        return
    assert isinstance(again, Event), again
    one, other = facts(again), facts(event)
    if other.record is not None:
        # On one line: the wires allow newlines only between messages.
        assert (one.record or b"").replace(b"\n", b" ") == other.record.replace(b"\n", b" ")
    assert _but_record(one) == _but_record(other)


def _but_record(event: Event) -> tuple[object, ...]:
    return (event.did, event.kind, event.action, event.collection, event.rkey, event.rev,
            event.cid, event.time_us)  # fmt: skip


@budget(100)
@given(
    messages=st.lists(st.deferred(lambda: any_bytes(real_messages())), max_size=8),
    position=st.none() | st.integers(0, 2**40),
)
def test_each_line_comes_to_something(messages: list[bytes], position: int | None) -> None:
    chunk = b"\n".join(messages)
    lines = [line for line in chunk.split(b"\n") if line]
    decoded = JETSTREAM.decode_lines(chunk, position)
    assert len(decoded) == len(lines)
    for line, one in zip(lines, decoded, strict=True):
        assert_documented(one, line)


MIB = 1 << 20
ENVELOPE = (
    b'{"did":"did:plc:t423oqsrtl5gtgdfxvye5gco","time_us":1,"kind":"commit","commit":{"rev":"r",'
)
BEFORE = b'"operation":"create","collection":"app.bsky.feed.post","rkey":"k","cid":"c","record":'
BOMBS = {
    "arrays in arrays": b"[" * MIB,
    "objects in objects": b'{"a":' * (MIB // 5),
    "arrays, closed": b"[" * (MIB // 2) + b"]" * (MIB // 2),
    "one long text": b'{"a":"' + b"x" * MIB + b'"}',
    "escapes": b'{"a":"' + rb"\u0041" * (MIB // 6) + b'"}',
    "quotes": b'{"a":"' + rb"\"" * (MIB // 2) + b'"}',
    "backslashes without an end": b'{"a":"' + b"\\\\" * (MIB // 2),
    "lone surrogates": b'{"a":"' + rb"\ud800" * (MIB // 6) + b'"}',
    "lone surrogates, nested": rb'{"a":"\ud800","b":' + b"[" * MIB,
    "a long number": b'{"a":' + b"9" * MIB + b"}",
    "a long number and a surrogate": b'{"a":' + b"9" * MIB + rb',"b":"\ud800"}',
    "brackets in a text": b'{"a":"' + b"[{" * (MIB // 2) + b'"}',
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(MIB // 12)) + b"}",
    "the same key": b"{" + b",".join([b'"a":1'] * (MIB // 6)) + b"}",
    "spaces": b"{" + b" " * MIB + b"}",
    "bytes that are no text": b'{"a":"' + b"\xff" * MIB + b'"}',
}


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.parametrize("end", [b"}}", b""], ids=["whole", "cut"])
def test_a_megabyte_of_malice_takes_little_time_and_memory(name: str, end: bytes) -> None:
    """As a record in a message of the usual form, and as a message by itself."""
    bomb = BOMBS[name]
    for raw in (ENVELOPE + BEFORE + bomb + end, bomb):
        with bounded(seconds=3, bytes_max=64 * MIB):
            first = JetstreamDecoder().decode(raw)
            second = RedisDecoder().decode(raw, "1-0")
        for decoded in (first, second):
            assert isinstance(decoded, Event | Undecodable)
            assert not isinstance(decoded, Undecodable) or decoded.raw == raw
