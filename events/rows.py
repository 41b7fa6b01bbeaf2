"""Events as rows of the log: their columns, and how their times travel."""

from __future__ import annotations

from typing import Final
from weakref import WeakSet

import asyncpg

from events.event import Event

EVENT: Final = "log_offset, did, kind, action, collection, rkey, rev, cid, record, occurred_at"
"""What a query for `fetch_events` must select, in this order."""

_EPOCH_OF_POSTGRES_US: Final = 946_684_800_000_000
_in_microseconds: WeakSet[asyncpg.Connection] = WeakSet()


async def times_in_microseconds(connection: asyncpg.Connection) -> None:
    """Has the connection's timestamps, from now on, come and go as microseconds since 1970.

    Making and reading a datetime of each would take longer than all else of an event's row.
    """
    if connection in _in_microseconds:
        return
    await connection.set_type_codec(
        "timestamptz",
        schema="pg_catalog",
        encoder=lambda time_us: (time_us - _EPOCH_OF_POSTGRES_US,),
        decoder=lambda since: since[0] + _EPOCH_OF_POSTGRES_US,
        format="tuple",
    )
    _in_microseconds.add(connection)


async def fetch_events(connection: asyncpg.Connection, query: str, *values: object) -> list[Event]:
    """The events that a query for the columns `EVENT` finds; see `times_in_microseconds`."""
    await times_in_microseconds(connection)
    return [Event(*row) for row in await connection.fetch(query, *values)]
