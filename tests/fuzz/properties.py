"""What must hold of whatever a decoder makes of whatever came."""

from __future__ import annotations

import re
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from events.event import TIME_US_MAX, Batch, Decoded, Event, Limits, Skipped, Undecodable
from events.json_text import is_nested_deeper

SLUG = re.compile(r"[a-z][a-z0-9-]{1,39}").fullmatch
LIMITS = Limits(message_bytes_max=8_000)


def assert_documented(decoded: Decoded, raw: bytes, limits: Limits = LIMITS) -> None:
    """Nothing is lost: an event whose keys can be stored, a letter with its message, or skipped."""
    batch = Batch("1")
    batch.add(decoded)
    if isinstance(decoded, Event):
        assert (batch.events, batch.dead, batch.skipped.total()) == ([decoded], [], 0)
        assert len(raw) <= limits.message_bytes_max
        assert batch.bury_unstorable() == 0
        _assert_event(decoded, raw, limits)
    elif isinstance(decoded, Undecodable):
        assert (batch.events, batch.dead, batch.skipped.total()) == ([], [decoded], 0)
        assert decoded.raw == raw[: limits.message_bytes_max]
        assert SLUG(decoded.reason)
        assert decoded.error and "\n" not in decoded.error
    else:
        assert isinstance(decoded, Skipped)
        assert (batch.events, batch.dead, batch.skipped) == ([], [], {decoded.reason: 1})
        assert SLUG(decoded.reason)


def _assert_event(event: Event, raw: bytes, limits: Limits) -> None:
    assert 0 <= event.time_us <= TIME_US_MAX
    assert 7 <= len(event.did) <= limits.did_bytes_max
    assert event.did.startswith("did:")
    kinds = {"commit", "account", "identity", "sync", "unknown"}
    assert event.kind in kinds
    assert event.action and len(event.action) <= 64
    if event.kind == "commit":
        assert event.action in {"create", "update", "delete"}
        assert event.collection and event.rkey
        assert len(event.collection) <= limits.collection_bytes_max
        assert 1 <= len(event.rkey) <= limits.rkey_bytes_max
        assert (event.record is None) == (event.action == "delete")
    if event.record is not None:
        # Byte for byte as it came, and an object of a bounded depth.
        assert event.record in raw
        assert event.record.startswith(b"{")
        assert not is_nested_deeper(event.record, limits.nesting_levels_max)


def facts(event: Event) -> Event:
    """The event without its source's cursor, which each wire has of its own."""
    return msgspec.structs.replace(event, source_cursor="")


@contextmanager
def bounded(*, seconds: float, bytes_max: int) -> Iterator[None]:
    """Fails where what is done takes longer, of this process's time, or more memory."""
    tracemalloc.start()
    begun = time.process_time()
    try:
        yield
        took, (_, peak) = time.process_time() - begun, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert took < seconds
    assert peak < bytes_max
