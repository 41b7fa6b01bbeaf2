"""What the page and the metrics tell beside the status: disk, connections, letters, Redis."""

from __future__ import annotations

from typing import Final

import asyncpg
import msgspec

from events.errors import SourceError
from projector.database import one_line

LETTERS_MAX: Final = 20
RECORD_CHARS_MAX: Final = 2_000
ERROR_CHARS_MAX: Final = 500

REDIS_SECONDS_MAX: Final = 2.0

LOG: Final = """
SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, count(c.oid),
    count(c.oid) FILTER (WHERE p.first_offset > h.head),
    coalesce(max(p.end_offset) - 1 - max(h.head), 0),
    coalesce(max(h.head) - min(p.first_offset) + 1, 0),
    pg_database_size(current_database()),
    (SELECT coalesce(sum(bytes), 0)::bigint FROM projector.log_archive)
FROM projector.log_head AS h, projector.log_partition AS p
LEFT JOIN pg_class AS c ON c.relname = p.table_name AND c.relnamespace = 'projector'::regnamespace
"""
CONNECTIONS: Final = """
SELECT substr(application_name, 11), count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name LIKE 'projector/%' GROUP BY 1 ORDER BY 1
"""
# A letter of an event has no raw form of its own: the log has it, unless that was archived.
LETTERS: Final = """
SELECT d.id, coalesce(d.projection, d.source) AS "where", d.stage, d.reason,
    left(d.error, $2) AS error, d.log_offset, d.attempts,
    to_char(d.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') AS since,
    e.did, e.action, e.collection, e.rkey, coalesce(e.record, d.raw) AS event
FROM (SELECT * FROM projector.dead_letter
    WHERE position('@' in coalesce(projection, '')) = 0 ORDER BY id DESC LIMIT $1) AS d
LEFT JOIN projector.event_log AS e ON e.log_offset = d.log_offset
ORDER BY d.id DESC
"""


class LogFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The log on disk: live partitions with their indexes, and what is archived.

    `events` is how many offsets the live partitions hold, `room_events` how many above the head
    have a partition already.
    """

    bytes: int
    partitions: int
    partitions_ahead: int
    room_events: int
    events: int
    database_bytes: int
    archive_bytes: int


class LetterFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One dead letter with the beginning of what it is about; `event` is None where the log's
    partition is archived."""

    id: int
    where: str
    stage: str
    reason: str
    error: str
    log_offset: int | None
    attempts: int
    since: str
    did: str | None
    action: str | None
    collection: str | None
    rkey: str | None
    event: str | None


class RedisFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A stream and its server; `error` says why nothing else is known."""

    stream: str
    entries: int = 0
    pending: int = 0
    memory_bytes: int = 0
    memory_max_bytes: int = 0
    error: str | None = None


async def read_log(connection: asyncpg.Connection) -> LogFacts:
    """The log's size and room."""
    row = await connection.fetchrow(LOG)
    assert row is not None
    return LogFacts(**dict(zip(LogFacts.__struct_fields__, _log_order(row), strict=True)))


def _log_order(row: asyncpg.Record) -> tuple[int, ...]:
    return tuple(int(value) for value in row)


async def read_connections(connection: asyncpg.Connection) -> dict[str, int]:
    """How many connections each of our roles has to this database; a role names what it does."""
    rows = await connection.fetch(CONNECTIONS)
    return {str(row[0]): int(row[1]) for row in rows}


async def read_letters(connection: asyncpg.Connection) -> list[LetterFacts]:
    """The newest dead letters."""
    rows = await connection.fetch(LETTERS, LETTERS_MAX, ERROR_CHARS_MAX)
    return [LetterFacts(**{**dict(row), "event": _text(row["event"])}) for row in rows]


def _text(raw: bytes | None) -> str | None:
    if raw is None:
        return None
    text = raw[: RECORD_CHARS_MAX * 4].decode(errors="replace")
    return text if len(text) <= RECORD_CHARS_MAX else text[:RECORD_CHARS_MAX] + " …"


async def read_redis(text: str, group: str) -> RedisFacts:
    """A stream's length, what a group has pending, and its server's memory. Never raises.

    An address may name another group than `group`.
    """
    from redis.exceptions import RedisError

    from events.streams.link import RedisLink, parse_place

    place = parse_place(text, group)
    link = RedisLink(place.url, REDIS_SECONDS_MAX)
    try:
        entries, pending, memory = await link.together(
            ("XLEN", place.stream),
            ("XPENDING", place.stream, place.group),
            ("INFO", "memory"),
        )
    except (RedisError, OSError, SourceError) as error:
        return RedisFacts(stream=place.name, error=one_line(error)[:ERROR_CHARS_MAX])
    finally:
        await link.close()
    if isinstance(entries, Exception) or isinstance(memory, Exception):
        wrong = entries if isinstance(entries, Exception) else memory
        return RedisFacts(stream=place.name, error=one_line(wrong)[:ERROR_CHARS_MAX])
    said = _info(bytes(memory))
    return RedisFacts(
        stream=place.name,
        entries=int(entries),
        # No group, nothing pending.
        pending=0 if isinstance(pending, Exception) else int(pending[0]),
        memory_bytes=said.get("used_memory", 0),
        memory_max_bytes=said.get("maxmemory", 0),
    )


def _info(reply: bytes) -> dict[str, int]:
    pairs = (line.partition(":") for line in reply.decode().splitlines())
    return {key: int(value) for key, _, value in pairs if value.isdecimal()}
