"""The log against itself: offsets, partitions, head, cursors and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec

from events.log import HEAD, Partition, read_head, read_partitions
from projector.aggregate import AUDIT_SECONDS_MAX
from projector.errors import CheckFailed
from projector.home import quoted

GAPS_MAX: Final = 100
"""The most gaps of a partition that are named."""

# The last event is in a live partition or in a file of the archive.
LAST: Final = """
SELECT greatest((SELECT max(log_offset) FROM projector.event_log),
    (SELECT max(end_offset) - 1 FROM projector.log_archive))
"""
HEAD_STATE: Final = f"""
SELECT (SELECT head FROM projector.log_head), ({LAST}),
    (SELECT sum(events)::bigint FROM projector.source_cursor)
"""
# A partition that is on its way out is in pg_inherits, and readers do not see it.
ATTACHED: Final = """
SELECT p.table_name, c.oid IS NOT NULL AS is_there,
    coalesce(i.inhparent = 'projector.event_log'::regclass AND NOT i.inhdetachpending, false)
FROM projector.log_partition AS p
LEFT JOIN pg_class AS c
    ON c.relname = p.table_name AND c.relnamespace = 'projector'::regnamespace
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
"""
STRANGE: Final = """
SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'projector.event_log'::regclass
    AND NOT EXISTS (SELECT FROM projector.log_partition AS p WHERE p.table_name = c.relname)
"""
ARCHIVED: Final = "SELECT first_offset, end_offset FROM projector.log_archive ORDER BY first_offset"
BEYOND: Final = """
SELECT projection, log_offset FROM projector.checkpoint WHERE log_offset > $1 ORDER BY 1
"""
# One walk along the primary key; the last offset to be is put at the end.
UNEVEN: Final = """
SELECT before + 1, log_offset - 1 FROM (
    SELECT log_offset, lag(log_offset, 1, $1::bigint - 1) OVER (ORDER BY log_offset) AS before
    FROM (SELECT log_offset FROM {table} WHERE log_offset <= $2::bigint
        UNION ALL SELECT $2::bigint + 1) AS o) AS pairs
WHERE log_offset <> before + 1 ORDER BY 1 LIMIT $3
"""
SET_HEAD: Final = f"UPDATE projector.log_head SET head = coalesce(({LAST}), 0)"

BACKUP: Final = "restore the database from a backup"


class LogFault(msgspec.Struct, frozen=True, kw_only=True):
    """Something wrong with the log: a name to tell it by, one line, and what mends it."""

    name: str
    text: str
    mend: str


async def check_log(connection: asyncpg.Connection, *, full: bool) -> list[LogFault]:
    """Checks the log in one snapshot; `full` walks along every offset of the live partitions.

    Without it only the ends of indexes and the catalogue are looked at.
    """
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        partitions = await read_partitions(connection)
        archived = await read_archived(connection)
        head = int(await connection.fetchval(HEAD) or 0)
        found = await _partitions(connection, partitions, archived, head)
        found += _covered(partitions, archived, head)
        if not found:
            # Else the last event may be one that cannot be seen.
            found, head = await _head(connection)
        found += await _checkpoints(connection, head)
        if full:
            found += await _offsets(connection, partitions, archived, head)
    return found


async def read_archived(connection: asyncpg.Connection) -> list[tuple[int, int]]:
    """The ranges of offsets, first and end, that archive files hold."""
    return [tuple(row) for row in await connection.fetch(ARCHIVED)]


async def _head(connection: asyncpg.Connection) -> tuple[list[LogFault], int]:
    """Whether head, last event and the sources' counts agree; and the head that is right."""
    row = await connection.fetchrow(HEAD_STATE)
    assert row is not None
    head, last, counted = row
    if head is None:
        fault = LogFault(name="head-missing", text="log_head has no row", mend=BACKUP)
        return [fault], last or 0
    last = last or 0
    if head == last:
        if counted is not None and counted != head:
            text = f"the head is {head:,}, and the sources have appended {counted:,} events"
            mend = "ask who changed source_cursor; the log itself is whole"
            return [LogFault(name="source-counts-off", text=text, mend=mend)], head
        return [], head
    if counted == head:
        text = f"events {last + 1:,} to {head:,}, the log's last, are gone"
        return [LogFault(name="event-missing", text=text, mend=BACKUP)], head
    text = f"the head is {head:,}, and the last event is {last:,}"
    return [LogFault(name="head-moved", text=text, mend="projector verify --mend-head")], last


async def _partitions(
    connection: asyncpg.Connection,
    partitions: Sequence[Partition],
    archived: Sequence[tuple[int, int]],
    head: int,
) -> list[LogFault]:
    """Partitions that are registered and gone, or there and not registered."""
    by_name = {partition.table_name: partition for partition in partitions}
    found = []
    for name, is_there, attached in await connection.fetch(ATTACHED):
        partition = by_name[name]
        if attached:
            continue
        filed = (partition.first_offset, partition.end_offset) in archived
        if filed and is_there:
            text = f"{name} is archived, and was not removed whole"
            found.append(
                LogFault(name="partition-half-removed", text=text, mend="projector archive")
            )
        elif is_there:
            text = f"{name} is no part of event_log: its events cannot be read"
            found.append(LogFault(name="partition-detached", text=text, mend=attach(partition)))
        else:
            last = min(partition.end_offset - 1, head)
            what = f"with its events {partition.first_offset:,} to {last:,}"
            if last < partition.first_offset:
                what = "which was made ahead and had no events yet"
            text = f"{name} is gone, {what}"
            mend = restore(partition.first_offset) if filed else BACKUP
            found.append(LogFault(name="partition-missing", text=text, mend=mend))
    for (name,) in await connection.fetch(STRANGE):
        text = f"{name} is a partition of event_log that log_partition does not know"
        found.append(LogFault(name="partition-unknown", text=text, mend=BACKUP))
    return found


def attach(partition: Partition) -> str:
    """The SQL that makes a table a partition of the log again; it checks every offset."""
    return (
        f"psql -c 'ALTER TABLE projector.event_log ATTACH PARTITION projector."
        f"{partition.table_name} FOR VALUES FROM ({partition.first_offset}) "
        f"TO ({partition.end_offset})'"
    )


def restore(offset: int) -> str:
    """The command that puts a partition back from its archive file."""
    return f"projector archive --restore {offset}"


def _covered(
    partitions: Sequence[Partition], archived: Sequence[tuple[int, int]], head: int
) -> list[LogFault]:
    """Ranges up to the head that neither a partition nor a file is for."""
    ranges = sorted([*archived, *((p.first_offset, p.end_offset) for p in partitions)])
    found, at = [], 1
    for first, end in [*ranges, (head + 1, head + 1)]:
        if first > at and at <= head:
            last = min(first - 1, head)
            text = f"no partition and no archive file has the offsets {at:,} to {last:,}"
            found.append(LogFault(name="partition-missing", text=text, mend=BACKUP))
        at = max(at, end)
    return found


async def _checkpoints(connection: asyncpg.Connection, head: int) -> list[LogFault]:
    return [
        LogFault(
            name="checkpoint-beyond-head",
            text=f"{name} is at {offset:,}, and the log ends at {head:,}",
            mend=f"projector rebuild {name}",
        )
        for name, offset in await connection.fetch(BEYOND, head)
    ]


async def _offsets(
    connection: asyncpg.Connection,
    partitions: Sequence[Partition],
    archived: Sequence[tuple[int, int]],
    head: int,
) -> list[LogFault]:
    """Offsets that are missing, or there twice, in live partitions."""
    there = {name for name, is_there, _ in await connection.fetch(ATTACHED) if is_there}
    found = []
    for partition in partitions:
        first, last = partition.first_offset, min(partition.end_offset - 1, head)
        if partition.table_name not in there or last < first:
            continue
        sql = UNEVEN.format(table=f"projector.{quoted(partition.table_name)}")
        rows = await connection.fetch(sql, first, last, GAPS_MAX, timeout=AUDIT_SECONDS_MAX)
        filed = (first, partition.end_offset) in archived
        mend = restore(first) if filed else BACKUP
        found += [_uneven(partition.table_name, row[0], row[1], mend) for row in rows]
    return found


def _uneven(table: str, first: int, last: int, mend: str) -> LogFault:
    if last < first:
        return LogFault(
            name="event-twice", text=f"{table} has offset {first - 1:,} twice", mend=mend
        )
    which = f"event {first:,} is" if first == last else f"events {first:,} to {last:,} are"
    return LogFault(name="event-missing", text=f"{which} missing in {table}", mend=mend)


async def mend_head(connection: asyncpg.Connection) -> int:
    """Sets the head to the last event; appenders wait meanwhile. Returns the head.

    Raises `CheckFailed` where the log's last events are gone: their offsets must not come again.
    """
    async with connection.transaction():
        await connection.execute("SELECT head FROM projector.log_head FOR UPDATE")
        faults, _ = await _head(connection)
        if any(fault.name == "event-missing" for fault in faults):
            raise CheckFailed(f"the head stays: {faults[0].text}; {faults[0].mend}")
        await connection.execute(SET_HEAD)
        return await read_head(connection)
