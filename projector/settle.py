"""Settle: the events of busy keys, in order, into a shadow that has all other rows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.event import Event
from events.history import WholeLog
from events.rows import EVENT, fetch_events
from projector import shadow
from projector.apply import TableWriter
from projector.declare import Projection
from projector.fold import Folder, Window
from projector.home import Home

SETTLED_EVENTS: Final = 10_000
"""How many events of busy keys are applied in one transaction."""

SETTLED: Final = "UPDATE projector.build SET settled_offset = $2 WHERE name = $1"
ARCHIVED: Final = "SELECT coalesce(max(end_offset), 1) FROM projector.log_archive"
BUSY: Final = "SELECT uri FROM {busy} WHERE uri = ANY($1::text[])"
BUSY_EVENTS: Final = """
SELECT {event} FROM {events} JOIN projector.event_log USING (log_offset)
WHERE log_offset > $1 AND log_offset <= $2 ORDER BY log_offset LIMIT {most}
"""


class Settler:
    """Applies the events of busy keys, in order, to the shadow that has all other rows."""

    def __init__(self, projection: Projection, home: Home, refused: frozenset[int]) -> None:
        self.projection = projection
        self.home = home
        self.refused = refused
        self.writer = TableWriter(projection, home)
        self._folder = Folder(projection)
        self._log = WholeLog()

    async def settle(
        self, reading: asyncpg.Connection, writing: asyncpg.Connection, build: shadow.Build
    ) -> AsyncIterator[int]:
        """Applies what is left of them; yields the offset through which that is done.

        Nothing else writes to the shadow. Each batch is committed with how far it goes.
        """
        after = build.settled_offset
        # In the order of the offsets that are noted, each event by its own: the rest of the log is
        # not gone through.
        for way in ("enable_hashjoin", "enable_mergejoin", "enable_sort", "enable_seqscan"):
            await reading.execute(f"SET {way} = off")
        await reading.execute("SET max_parallel_workers_per_gather = 0")
        async for found, through in self._busy_events(reading, build, after):
            events = [e for e in found if e.log_offset not in self.refused]
            rest = Window(
                after,
                through,
                [e for e in events if e.kind == "commit"],
                [e for e in events if e.removes_account],
            )
            async with writing.transaction():
                while rest.after < rest.through:
                    part, folded = self._folder.fold_beginning(rest)
                    await self.writer.write(writing, folded, part.through)
                    _, rest = rest.cut(part.through)
                await writing.execute(SETTLED, self.home.name, through)
            crash_point("rebuild.settled")  # Recovery: goes on after this batch.
            after = through
            yield through

    async def _busy_events(
        self, connection: asyncpg.Connection, build: shadow.Build, after: int
    ) -> AsyncIterator[tuple[list[Event], int]]:
        """The events of busy keys, and all removals, with the offset through which they go."""
        through = build.through_offset
        archived = int(await connection.fetchval(ARCHIVED))
        live_from = max(archived, build.noted_from)
        while after < min(through, live_from - 1):
            # Archived now, or when events were noted: read whole, and asked which are busy.
            end = min(after + SETTLED_EVENTS, through, live_from - 1)
            events = await self._log.read(connection, after, end, self.projection.collections)
            yield await self._only_busy(connection, events), end
            after = end
        sql = BUSY_EVENTS.format(
            event=EVENT, events=shadow.busy_events(self.home), most=SETTLED_EVENTS
        )
        while after < through:
            events = await fetch_events(connection, sql, after, through)
            if int(await connection.fetchval(ARCHIVED)) != archived:
                # A partition went to the archive meanwhile: what was read may lack it.
                async for found in self._busy_events(connection, build, after):
                    yield found
                return
            whole = len(events) < SETTLED_EVENTS
            after = through if whole else events[-1].log_offset
            yield events, after

    async def _only_busy(self, connection: asyncpg.Connection, events: list[Event]) -> list[Event]:
        sql = BUSY.format(busy=shadow.busy(self.home))
        uris = [e.uri for e in events if e.kind == "commit"]
        busy = {row["uri"] for row in await connection.fetch(sql, uris)}
        return [e for e in events if (e.uri in busy if e.kind == "commit" else e.removes_account)]
