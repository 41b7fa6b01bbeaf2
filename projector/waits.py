"""What our connections wait for, as Postgres tells it."""

from __future__ import annotations

from typing import Final

import asyncpg
import msgspec

LONG_SECONDS: Final = 5.0
"""A statement of the hot path that takes longer waits for something."""

WAITS: Final = """
SELECT substr(a.application_name, 11) AS role,
    extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS seconds,
    coalesce(a.wait_event_type || ' ' || a.wait_event, '') AS event, b.pid AS blocker,
    coalesce(nullif(b.application_name, ''), b.usename, '') AS blocker_name
FROM pg_stat_activity AS a LEFT JOIN pg_stat_activity AS b
    ON a.wait_event_type = 'Lock' AND b.pid = (pg_blocking_pids(a.pid))[1]
WHERE a.datname = current_database() AND a.state = 'active'
    AND a.application_name ~ '^projector/(append$|apply |merge )'
    AND clock_timestamp() - a.query_start > $1 * interval '1 second'
ORDER BY a.query_start LIMIT 1
"""


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """The statement of ours that is under way the longest: whose, since when, what it waits for.

    `event` is Postgres' own name of that, empty where it works. `blocker` is the process that holds
    a lock which it waits for.
    """

    role: str
    seconds: float
    event: str
    blocker: int | None
    blocker_name: str


async def read_wait(
    connection: asyncpg.Connection, long_seconds: float = LONG_SECONDS
) -> Wait | None:
    """The longest wait of our appends, windows and merges, if any is long."""
    row = await connection.fetchrow(WAITS, long_seconds)
    return Wait(**dict(row)) if row is not None else None
