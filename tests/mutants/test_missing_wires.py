"""Tests that only a mutant showed to be missing: of the wires."""

from __future__ import annotations

import pytest

from events.event import TIME_US_MAX, Event, Limits, Undecodable
from events.jetstream_wire import decode

DID = b"did:plc:t423oqsrtl5gtgdfxvye5gco"
MESSAGE = (
    b'{"did":"%s","time_us":%d,"kind":"commit","commit":{"rev":"3lb4rbqitunyc","operation":"create"'
    b',"collection":"app.bsky.feed.post","rkey":"3lb4rbqitunyc","cid":"c","record":%s}}'
)


@pytest.mark.parametrize(("levels", "is_event"), [(3, True), (4, True), (5, False)])
def test_as_deep_as_is_allowed(levels: int, is_event: bool) -> None:
    """With more brackets than levels, so that they are not only counted."""
    inner = b"[" * (levels - 1) + b"]" * (levels - 1)
    record = b'{"x":[],"y":{},"z":[],"n":' + inner + b"}"
    decoded = decode(MESSAGE % (DID, 1, record), limits=Limits(nesting_levels_max=4))
    assert isinstance(decoded, Event) == is_event
    assert is_event or (isinstance(decoded, Undecodable) and decoded.reason == "too-deep")


@pytest.mark.parametrize(
    ("time_us", "is_event"), [(-1, False), (0, True), (TIME_US_MAX, True), (TIME_US_MAX + 1, False)]
)
def test_the_last_time_that_postgres_holds(time_us: int, is_event: bool) -> None:
    decoded = decode(MESSAGE % (DID, time_us, b"{}"))
    assert isinstance(decoded, Event) == is_event
    assert is_event or (isinstance(decoded, Undecodable) and decoded.reason == "bad-time")
