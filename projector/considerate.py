"""Consideration: background work leaves the machine to those who are live."""

from __future__ import annotations

import asyncio
import time
from typing import Final

import asyncpg

from projector.database import Database, close_quietly
from projector.settings import Settings

LOOK_SECONDS: Final = 0.25
YIELD_SECONDS_MAX: Final = 5.0
"""The longest that work waits for others to catch up: slowly it goes on all the same."""

# How long the oldest event has waited that a projector which somebody runs has not applied.
LAG_SECONDS: Final = """
SELECT coalesce(extract(epoch FROM clock_timestamp() - min(e.appended_at)), 0)::float8
FROM projector.checkpoint AS c
JOIN projector.lease AS l ON l.name = 'projection ' || c.projection AND l.until > now()
JOIN projector.event_log AS e ON e.log_offset = c.log_offset + 1
WHERE NOT EXISTS (SELECT FROM projector.feed AS f WHERE f.aggregate = c.projection)
"""


class Considerate:
    """Rests after each piece of work: by the share it may take, and while live projections lag."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.share = settings.rebuild_share
        self.lag_seconds_max = settings.rebuild_lag_seconds_max
        self._connection: asyncpg.Connection | None = None
        self._looked = 0.0
        self._lock = asyncio.Lock()

    async def rest(self, worked_seconds: float) -> None:
        """Rests after work that took so long."""
        if self.share < 1:
            await asyncio.sleep(worked_seconds * (1 - self.share) / self.share)
        deadline = time.monotonic() + YIELD_SECONDS_MAX
        async with self._lock:
            if time.monotonic() - self._looked < LOOK_SECONDS:
                return
            lag = await self._lag()
            while lag > self.lag_seconds_max and time.monotonic() < deadline:
                await asyncio.sleep(LOOK_SECONDS)
                lag = await self._lag()
            self._looked = time.monotonic()

    async def _lag(self) -> float:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self.database.connect("rebuild lag", enable_seqscan="off")
        return float(await self._connection.fetchval(LAG_SECONDS))

    async def close(self) -> None:
        """Closes the connection."""
        await close_quietly(self._connection)
        self._connection = None
