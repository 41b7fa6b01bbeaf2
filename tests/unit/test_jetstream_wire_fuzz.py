"""No bytes make the Jetstream decoder raise."""

from __future__ import annotations

import functools

from hypothesis import given
from hypothesis import strategies as st

from events.event import Event, Undecodable
from events.jetstream_wire import decode
from tests.support.corpus import (
    firehose_lines,
    hostile_inputs,
)

DID = "did:plc:t423oqsrtl5gtgdfxvye5gco"
CID = "bafyreifrjjaql326rqg7edfj7as24eptuuc3tdod3q6vlxie74hoouyzbu"
TIME_US = 1731824491461334


@functools.cache
def samples() -> list[bytes]:
    short = [raw for raw in hostile_inputs().values() if len(raw) < 1000]
    return firehose_lines() + short


@given(st.data())
def test_no_mutation_makes_it_raise(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from(samples())))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(raw)))
        end = data.draw(st.integers(start, min(len(raw), start + 3)))
        raw[start:end] = data.draw(
            st.binary(max_size=3) | st.sampled_from([b'"', b"{", b"\\ud800"])
        )
    event = decode(bytes(raw))
    assert isinstance(event, Event | Undecodable)
    if isinstance(event, Event) and event.record is not None:
        assert event.record in bytes(raw)


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(raw: bytes) -> None:
    assert isinstance(decode(raw), Event | Undecodable)
