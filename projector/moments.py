"""A place in the log as an operator names it: an offset, or a moment."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import asyncpg

from events.event import to_time_us
from events.history import WholeLog
from events.log import read_head
from events.rows import times_in_microseconds
from projector.errors import UsageError

APPENDED: Final = "SELECT appended_at FROM projector.event_log WHERE log_offset = $1"
OFFSET_DIGITS_MAX: Final = 18
"""More digits than a bigint is sure to have room for are no offset."""
NEIGHBOURS_MAX: Final = 1_000
"""How far to look in the archive for an event with a time: one that was erased has none."""


async def offset_at(connection: asyncpg.Connection, text: str, *, last: bool = False) -> int:
    """The offset that a text names: a number, or a moment in ISO 8601.

    A moment without a zone is in UTC, and a date is its first moment. It names the first offset
    appended then or later (head + 1 where there is none); with `last` the last one appended by
    then (0 where there is none). Of archived events, whose append nobody asks for any more, the
    time is when they occurred. Raises `UsageError` for a text that is neither.
    """
    if text.isascii() and text.isdecimal():
        if len(text) > OFFSET_DIGITS_MAX:
            raise UsageError(f"{text[:OFFSET_DIGITS_MAX]}… is larger than any offset can be")
        return int(text)
    moment_us = to_time_us(_moment(text))
    head = await read_head(connection)
    # All before `low` are too early, `high` and all after it are not: appends begin nearly in the
    # order of their offsets.
    low, high = 1, head + 1
    while low < high:
        middle = (low + high) // 2
        at_us = await _appended_us(connection, middle, head)
        if at_us > moment_us if last else at_us >= moment_us:
            high = middle
        else:
            low = middle + 1
    return low - 1 if last else low


async def _appended_us(connection: asyncpg.Connection, offset: int, head: int) -> int:
    """When an event was appended, in microseconds since 1970; of an archived one, occurred."""
    await times_in_microseconds(connection)
    at_us = await connection.fetchval(APPENDED, offset)
    if at_us is not None:
        return int(at_us)
    through = min(offset + NEIGHBOURS_MAX, head)
    events = await WholeLog().read(connection, offset - 1, through)
    return next((event.time_us for event in events if event.time_us > 0), 0)


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is neither an offset nor a moment; write 123456, 2026-07-04 or "
            "2026-07-04T12:30:00Z"
        ) from None
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        raise UsageError(f"{text!r} is beyond all moments that have a date") from None
