"""How many events of each collection a live source brings, kept by the minute and by the hour.

Ingest counts a batch at once, in memory, and adds to the database every few seconds: an upsert of
as many rows as there are collections, whatever the rate. Times are those of the events, so that
what is caught up after an outage counts where it belongs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Final

import asyncpg

from events.event import Event

LIVE_SOURCES: Final = ("jetstream", "ws:", "wss:", "redis:", "rediss:", "unix:")
"""How the names of sources begin that never end by themselves."""

ALL: Final = ""
"""In place of a collection: everything that a source brings."""

MINUTE: Final = 60
HOUR: Final = 3600
WRITE_SECONDS: Final = 10.0
PRUNE_SECONDS: Final = 3600.0
COLLECTIONS_MAX: Final = 200
"""Collections of a source that are counted by themselves: anybody may invent more."""

MINUTES_KEPT_SECONDS: Final = 130 * MINUTE
HOURS_KEPT_SECONDS: Final = 26 * HOUR
GONE_SECONDS: Final = 7 * 86_400
"""A collection that its source has not brought for longer is forgotten."""

ADD: Final = """
INSERT INTO projector.rate AS r (source, collection, seconds, begins, events, newest_us)
SELECT $1, * FROM unnest($2::text[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[])
ON CONFLICT (source, collection, seconds, begins) DO UPDATE
SET events = r.events + excluded.events, newest_us = greatest(r.newest_us, excluded.newest_us)
"""
KNOWN: Final = """
SELECT collection FROM projector.rate WHERE source = $1 AND seconds = 3600 AND collection <> ''
GROUP BY collection ORDER BY sum(events) DESC, collection LIMIT $2
"""
# Of each collection what came before its own newest event is kept, however long ago that was.
PRUNE: Final = """
WITH kept AS (SELECT collection, max(newest_us) / 1000000 AS newest FROM projector.rate
    WHERE source = $1 AND seconds = 3600 GROUP BY collection),
through AS (SELECT max(newest) AS newest FROM kept)
DELETE FROM projector.rate AS r USING kept AS k, through AS t
WHERE r.source = $1 AND r.collection = k.collection AND (
    r.begins < k.newest - CASE r.seconds WHEN 60 THEN $2::bigint ELSE $3::bigint END
    OR k.newest < t.newest - $4::bigint OR NOT r.collection = ANY($5::text[]))
"""

_collection = attrgetter("collection")


def is_live(source: str) -> bool:
    """Whether a source of that name never ends by itself."""
    return source.startswith(LIVE_SOURCES)


class Rates:
    """Counts what one source brings."""

    def __init__(self, source: str, clock: Callable[[], float] = time.time) -> None:
        self.source = source
        self._clock = clock
        self._counts: dict[int, Counter[str]] = {}
        self._newest: dict[tuple[int, str], int] = {}
        self._known: set[str] = set()
        self._write_at = 0.0
        self._prune_at = 0.0

    def add(self, events: Sequence[Event]) -> None:
        """Counts a batch, at the time of the event in its middle: one that is out of line, at an
        end of it, moves nothing. Times ahead of our clock are now."""
        if not events:
            return
        at_us = min(events[len(events) // 2].time_us, int(self._clock() * 1_000_000))
        minute = at_us // 1_000_000 // MINUTE * MINUTE
        counts = self._counts.setdefault(minute, Counter())
        counted = Counter(map(_collection, events))
        counted.pop(None, None)
        counted[ALL] = len(events)
        counts.update(counted)
        newest = self._newest
        for name in counted:
            newest[minute, name] = max(newest.get((minute, name), 0), at_us)

    async def write(self, connection: asyncpg.Connection) -> None:
        """Adds to the database what was counted, where that was some seconds ago."""
        now = self._clock()
        if now < self._write_at or not self._counts:
            return
        if now >= self._prune_at:
            await self._prune(connection)
            self._prune_at = now + PRUNE_SECONDS
        await connection.execute(ADD, self.source, *zip(*self._rows(), strict=True))
        self._counts.clear()
        self._newest.clear()
        self._write_at = now + WRITE_SECONDS

    def _rows(self) -> list[tuple[str, int, int, int, int]]:
        rows: dict[tuple[str, int, int], tuple[int, int]] = {}
        for minute, counts in self._counts.items():
            for name, events in counts.most_common():
                if not self._is_counted(name):
                    continue
                newest = self._newest[minute, name]
                for seconds in (MINUTE, HOUR):
                    key = (name, seconds, minute // seconds * seconds)
                    before = rows.get(key, (0, 0))
                    rows[key] = (before[0] + events, max(before[1], newest))
        # In the order of the keys, as every writer locks them.
        return [(*key, *rows[key]) for key in sorted(rows)]

    def _is_counted(self, name: str) -> bool:
        if name != ALL and name not in self._known:
            if len(self._known) >= COLLECTIONS_MAX:
                return False
            self._known.add(name)
        return True

    async def _prune(self, connection: asyncpg.Connection) -> None:
        """Forgets what is old, and of more collections than are kept those with the least."""
        rows = await connection.fetch(KNOWN, self.source, COLLECTIONS_MAX)
        known = [row[0] for row in rows]
        kept = (MINUTES_KEPT_SECONDS, HOURS_KEPT_SECONDS, GONE_SECONDS)
        await connection.execute(PRUNE, self.source, *kept, [ALL, *known])
        self._known = set(known)
