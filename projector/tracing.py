"""From a record to the spans that brought it: the append of its events, their windows, merges."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from events.event import Event
from events.history import WholeLog
from events.log import read_head
from events.rows import times_in_microseconds
from projector.declare import Declaration, Projection
from projector.errors import UsageError
from projector.movements import Report, steps

APPEND: Final = """
SELECT first_offset, through_offset, traceparent FROM projector.append_trace
WHERE through_offset >= $1 ORDER BY through_offset LIMIT 1
"""
WINDOW: Final = """
SELECT after_offset + 1, through_offset, traceparent FROM projector.window_trace
WHERE projection = $2 AND through_offset >= $1 ORDER BY through_offset LIMIT 1
"""
MERGES: Final = """
SELECT aggregate, traceparent FROM projector.merge_trace
WHERE projection = $1 AND through_offset = $2 ORDER BY aggregate, traceparent
"""
CURSOR: Final = "SELECT source_cursor FROM projector.event_log WHERE log_offset = $1"
CHECKPOINT: Final = "SELECT log_offset FROM projector.checkpoint WHERE projection = $1"


class SpanId(msgspec.Struct, frozen=True, kw_only=True):
    """A span as a tracing system knows it, in hexadecimal."""

    trace_id: str
    span_id: str


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What one append or window did, offsets `first` to `last`, and its span."""

    first: int
    last: int
    span: SpanId


class MergeSpan(msgspec.Struct, frozen=True, kw_only=True):
    """A merge of the window's deltas into an aggregate."""

    aggregate: str
    span: SpanId


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event in one projection; `window` is None where it was not traced."""

    projection: str
    is_applied: bool
    window: Stretch | None
    merges: list[MergeSpan]


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """The way of one event: its place at the source, its append, its windows and merges.

    `append` is None where it was not traced, `source_cursor` where the log's partition is archived.
    """

    log_offset: int
    occurred_at: datetime
    what: str
    of: str
    source_cursor: str | None
    append: Stretch | None
    applied: list[Applied]


async def find_events(
    connection: asyncpg.Connection, uri: str, last: int, search_events: int, report: Report
) -> list[Event]:
    """The latest events of a record, the latest first, among the log's latest offsets (0: all)."""
    did, _, path = uri.removeprefix("at://").partition("/")
    collection, _, rkey = path.partition("/")
    if not (uri.startswith("at://did:") and collection and rkey):
        raise UsageError(f"{uri!r} is neither an offset nor an at-uri: at://DID/COLLECTION/RKEY")
    await times_in_microseconds(connection)
    head = await read_head(connection)
    after = max(head - search_events, 0) if search_events else 0
    found: list[Event] = []
    log = WholeLog()
    try:
        for begin, end in reversed(list(steps(after, head))):
            events = await log.of_accounts(connection, [did], begin, end, [collection])
            found += reversed([e for e in events if e.kind == "commit" and e.rkey == rkey])
            report(end - begin, head - after)
            if len(found) >= last:
                break
    finally:
        await log.close()
    if not found:
        raise UsageError(
            f"no event of {uri} is among the offsets {after + 1:,} to {head:,}"
            + ("; --search-events 0 looks through the whole log" if after else "")
        )
    return found[:last]


async def find_offset(connection: asyncpg.Connection, offset: int) -> Event:
    """The event at an offset."""
    await times_in_microseconds(connection)
    if not 0 < offset <= (head := await read_head(connection)):
        raise UsageError(f"the log has the offsets 1 to {head:,}, and not {offset:,}")
    log = WholeLog()
    try:
        return (await log.read(connection, offset - 1, offset))[0]
    finally:
        await log.close()


async def way_of(
    connection: asyncpg.Connection, event: Event, declarations: Sequence[Declaration]
) -> Way:
    """What is known of an event's way."""
    concerned = [
        d for d in declarations
        if isinstance(d, Projection) and (
            event.collection in d.collections if event.kind == "commit" else event.removes_account)
    ]  # fmt: skip
    return Way(
        log_offset=event.log_offset,
        occurred_at=event.occurred_at,
        what=f"{event.kind} {event.action}",
        of=event.uri if event.kind == "commit" else event.did,
        source_cursor=await connection.fetchval(CURSOR, event.log_offset),
        append=await _stretch(connection, APPEND, event.log_offset),
        applied=[await _applied(connection, event.log_offset, p.name) for p in concerned],
    )


async def _applied(connection: asyncpg.Connection, offset: int, projection: str) -> Applied:
    window = await _stretch(connection, WINDOW, offset, projection)
    merges = await connection.fetch(MERGES, projection, window.last) if window else []
    return Applied(
        projection=projection,
        is_applied=(await connection.fetchval(CHECKPOINT, projection) or 0) >= offset,
        window=window,
        merges=[MergeSpan(aggregate=name, span=_span(parent)) for name, parent in merges],
    )


async def _stretch(
    connection: asyncpg.Connection, statement: str, offset: int, *more: str
) -> Stretch | None:
    row = await connection.fetchrow(statement, offset, *more)
    # Not all are traced: the next that is may lie beyond the offset.
    if row is None or row[0] > offset:
        return None
    return Stretch(first=row[0], last=row[1], span=_span(row[2]))


def _span(traceparent: str) -> SpanId:
    _, trace_id, span_id, _ = traceparent.split("-")
    return SpanId(trace_id=trace_id, span_id=span_id)
