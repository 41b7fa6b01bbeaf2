"""Which span applied which window, and which merged its deltas; kept while traces are recorded.

Telemetry: nothing is decided by it. A window's trace is written before the window is applied, so
that whoever merges its deltas finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import asyncpg

from events.log import TRACES_KEPT_EVENTS
from projector.fold import Window

KEEP_WINDOW: Final = """
WITH old_merges AS (
    DELETE FROM projector.merge_trace WHERE projection = $1 AND through_offset < $5),
old_windows AS (
    DELETE FROM projector.window_trace WHERE projection = $1 AND through_offset < $5)
INSERT INTO projector.window_trace (projection, after_offset, through_offset, traceparent)
VALUES ($1, $2, $3, $4)
ON CONFLICT (projection, through_offset)
DO UPDATE SET after_offset = excluded.after_offset, traceparent = excluded.traceparent
"""
KEEP_MERGE: Final = """
INSERT INTO projector.merge_trace (projection, through_offset, aggregate, traceparent)
SELECT p, t, $3, $4 FROM unnest($1::text[], $2::bigint[]) AS u(p, t) ORDER BY p, t
ON CONFLICT DO NOTHING
"""


class TracedWindow(NamedTuple):
    """A window whose deltas were merged, and the W3C traceparent of the span that applied it."""

    projection: str
    through: int
    traceparent: str


async def keep_window(
    connection: asyncpg.Connection, projection: str, window: Window, traceparent: str
) -> None:
    """Notes the span that is about to apply a window; forgets those of long ago."""
    await connection.execute(
        KEEP_WINDOW,
        projection,
        window.after,
        window.through,
        traceparent,
        window.through - TRACES_KEPT_EVENTS,
    )


async def keep_merge(
    connection: asyncpg.Connection,
    aggregate: str,
    windows: Sequence[TracedWindow],
    traceparent: str,
) -> None:
    """Notes the span that merged the deltas of windows."""
    projections, throughs = [w.projection for w in windows], [w.through for w in windows]
    await connection.execute(KEEP_MERGE, projections, throughs, aggregate, traceparent)
