"""Where a projection fails again and again: kept in the database, so that the status can say so.

Only of what a server that answers says, or of what ends the daemon: a server that is away is no
failure of the projection's.
"""

from __future__ import annotations

import logging
from typing import Final

import asyncpg
import msgspec

from projector.database import (
    SERVER_ERRORS,
    Database,
    close_quietly,
    is_transient,
    one_line,
    sqlstate,
)
from projector.errors import CheckpointMoved

log = logging.getLogger(__name__)

ERROR_CHARS_MAX: Final = 300
AWAY: Final = ("08", "57P0", "53300")
"""Beginnings of SQLSTATEs of a server that is away, going, or takes no more connections."""

NOTE: Final = """
INSERT INTO projector.failure AS f (projection, log_offset, attempts, error)
SELECT projection, log_offset, 1, $2 FROM projector.checkpoint WHERE projection = $1
ON CONFLICT (projection) DO UPDATE
SET log_offset = excluded.log_offset, error = excluded.error, failed_at = now(),
    attempts = CASE WHEN f.log_offset = excluded.log_offset THEN f.attempts + 1 ELSE 1 END,
    since = CASE WHEN f.log_offset = excluded.log_offset THEN f.since ELSE now() END
"""
FAILURES: Final = """
SELECT projection, f.log_offset, attempts, extract(epoch FROM now() - since)::float8 AS seconds,
    error
FROM projector.failure AS f JOIN projector.checkpoint AS c USING (projection, log_offset)
WHERE failed_at > now() - $1 * interval '1 second' ORDER BY since
"""
FRESH_SECONDS: Final = 600.0
"""A failure that nobody has met again for longer is one of the past."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A projection that has failed so often at the checkpoint where it still is, for `seconds`."""

    projection: str
    log_offset: int
    attempts: int
    seconds: float
    error: str


async def note_failure(database: Database, projection: str, error: Exception) -> None:
    """Keeps that a projection failed at its checkpoint. Raises nothing: the error is dealt with by
    whoever calls."""
    if isinstance(error, CheckpointMoved) or _is_away(error):
        return
    connection: asyncpg.Connection | None = None
    try:
        connection = await database.connect("failure")
        await connection.execute(NOTE, projection, one_line(error)[:ERROR_CHARS_MAX])
    except SERVER_ERRORS as trouble:
        log.debug("%s: its failure is not noted: %s", projection, one_line(trouble))
    finally:
        await close_quietly(connection)


def _is_away(error: Exception) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return sqlstate(error).startswith(AWAY)
    return is_transient(error)


async def read_failures(connection: asyncpg.Connection) -> list[Failure]:
    """The projections that fail where they are, the one that began first first."""
    rows = await connection.fetch(FAILURES, FRESH_SECONDS)
    return [Failure(**dict(row)) for row in rows]
