"""A counter over time: what its value truly was, event by event."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

import asyncpg
import msgspec

from events.event import Event
from events.history import WholeLog
from events.log import read_head
from projector.errors import UsageError
from projector.moments import offset_at
from projector.movements import Report, course_of, searching
from projector.watch import CounterOf, Movement


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """The counter's value from an event on."""

    log_offset: int
    occurred_at: datetime
    value: int


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The values of a counter's key from one offset to another.

    `points` begins with the value at `from_offset`, where that is not the log's beginning, and ends
    with the value at `to_offset`; between them there is one for each event that moved it. Times are
    those of the events, which need not be in the order of the log.
    """

    counter: str
    key: str
    unit: str
    from_offset: int
    to_offset: int
    movements: int
    value: int
    points: list[Point]


async def read_history(
    connection: asyncpg.Connection,
    counter: CounterOf,
    key: str,
    *,
    since: str | None = None,
    until: str | None = None,
    report: Report,
    schema: str = "bsky",
) -> History:
    """Folds the whole log for one key; `since` and `until` are offsets or moments, and the tables
    are in `schema`.

    Raises `UsageError` for a range without an event, and for a key that nothing ever counted for.
    """
    head = await read_head(connection)
    first = max(await offset_at(connection, since), 1) if since else 1
    last = min(await offset_at(connection, until, last=True), head) if until else head
    if not first <= last:
        raise UsageError(
            f"the log has no event from {since or 'its beginning'} to {until or 'its end'}: "
            f"its offsets are 1 to {head:,}"
        )
    async with searching(connection, counter, key, last, report, schema=schema) as search:
        movements = (await course_of(search)).movements
    if not movements:
        raise UsageError(
            f"nothing ever counted for {key!r} in {counter.full_name}: none of the log's "
            f"{last:,} events up to offset {last}; check the key"
        )
    shown = values_of(movements)
    ends = [await _event(connection, offset) for offset in (first, last)]
    return History(
        counter=counter.full_name,
        key=key,
        unit=f"rows of {counter.count.table}",
        from_offset=first,
        to_offset=last,
        movements=sum(first <= m.log_offset for m in movements),
        value=shown[-1].value,
        points=within(shown, ends[0], ends[1]),
    )


async def _event(connection: asyncpg.Connection, offset: int) -> Event:
    log = WholeLog()
    try:
        (event,) = await log.read(connection, offset - 1, offset)
    finally:
        await log.close()
    return event


def values_of(movements: Iterable[Movement]) -> list[Point]:
    """The value after each movement, in the order of the log."""
    value, points = 0, []
    for movement in movements:
        value += movement.change
        points.append(
            Point(log_offset=movement.log_offset, occurred_at=movement.occurred_at, value=value)
        )
    return points


def within(points: Sequence[Point], first: Event, last: Event) -> list[Point]:
    """The points between two events, with the value at each of these two."""
    before = [point for point in points if point.log_offset <= first.log_offset]
    at_first = before[-1].value if before else 0
    found = [_at(first, at_first)]
    found += [p for p in points if first.log_offset < p.log_offset <= last.log_offset]
    if found[-1].log_offset < last.log_offset:
        found.append(_at(last, found[-1].value))
    return found


def _at(event: Event, value: int) -> Point:
    return Point(log_offset=event.log_offset, occurred_at=event.occurred_at, value=value)
