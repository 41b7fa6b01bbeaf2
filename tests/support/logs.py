"""The log as tests read it."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from events.event import Event
from events.history import WholeLog


async def read_events(
    connection: asyncpg.Connection,
    after: int,
    through: int,
    collections: Sequence[str] | None = None,
) -> list[Event]:
    """The events with offsets above `after` up to `through`, wherever they are."""
    log = WholeLog()
    try:
        return await log.read(connection, after, through, collections)
    finally:
        await log.close()
