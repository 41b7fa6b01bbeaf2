"""Sealed partitions of the log: their index by account, and how they come and go under readers."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.log import Partition

log = logging.getLogger(__name__)

DDL_SECONDS_MAX: Final = 86_400.0
"""An index of a large partition takes long, and a detach waits for every reader there is."""

SNAPSHOT_SECONDS_MAX: Final = 300.0
"""How long the drop of a partition waits for snapshots from before its file was known."""

STATES: Final = """
SELECT p.table_name, p.first_offset, p.end_offset, c.oid IS NOT NULL AS there,
    coalesce(i.inhparent = 'projector.event_log'::regclass, false) AS attached,
    coalesce(i.inhdetachpending, false) AS detaching
FROM projector.log_partition AS p
LEFT JOIN pg_class AS c ON c.relname = p.table_name
    AND c.relnamespace = 'projector'::regnamespace
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
WHERE p.first_offset = $1
"""
# Sealed: every offset is assigned, and committed, since the head moves with them (invariant 1).
UNINDEXED: Final = """
SELECT p.table_name
FROM projector.log_partition AS p
JOIN pg_class AS c ON c.relname = p.table_name AND c.relnamespace = 'projector'::regnamespace
JOIN pg_inherits AS i ON i.inhrelid = c.oid AND NOT i.inhdetachpending
LEFT JOIN pg_class AS n ON n.relname = p.table_name || '_did_idx'
    AND n.relnamespace = 'projector'::regnamespace
LEFT JOIN pg_index AS x ON x.indexrelid = n.oid AND x.indrelid = c.oid
WHERE p.end_offset <= (SELECT head FROM projector.log_head) + 1 AND x.indisvalid IS NOT TRUE
ORDER BY p.first_offset
"""
MAKE_INDEX: Final = "SELECT projector.index_partition($1)"
# Who holds a snapshot. Roles that may not see others' activity see only their own.
SNAPSHOTS: Final = """
SELECT pid, xact_start FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend'
    AND pid <> pg_backend_pid() AND backend_xmin IS NOT NULL
"""
UNDER_WAY: Final = """
SELECT count(*) FROM pg_stat_activity AS a
JOIN unnest($1::int[], $2::timestamptz[]) AS t(pid, begun) ON a.pid = t.pid AND a.xact_start = begun
"""
# An arbitrary number of our own: whoever makes indexes of sealed partitions holds this lock.
INDEX_LOCK: Final = 7_305_816_512_005
FORGET: Final = "DELETE FROM projector.log_partition WHERE first_offset = $1"


async def index_sealed(connection: asyncpg.Connection) -> list[str]:
    """Gives every sealed partition its index by account; returns those that were without.

    The database's own function makes it, so that a daemon need not own the log; readers do not wait
    for it, and appenders are elsewhere. Where somebody else is at it, nothing is done.
    """
    if not await connection.fetchval("SELECT pg_try_advisory_lock($1)", INDEX_LOCK):
        return []
    # Where this fails or is cancelled, the lock goes with the connection, which then is closed.
    made = await _index_sealed(connection)
    await connection.execute("SELECT pg_advisory_unlock($1)", INDEX_LOCK)
    return made


async def _index_sealed(connection: asyncpg.Connection) -> list[str]:
    made = []
    for row in await connection.fetch(UNINDEXED):
        # Killed while it is made, nothing is left of it, and the next run makes it.
        crash_point("index.making")
        await connection.execute(MAKE_INDEX, row["table_name"], timeout=DDL_SECONDS_MAX)
        crash_point("index.made")
        made.append(row["table_name"])
    return made


async def remove(connection: asyncpg.Connection, partition: Partition) -> None:
    """Detaches and drops a partition whose file is known, while readers read.

    Each step finds what a killed run left of it. Raises `SnapshotsHeld`.
    """
    state = await connection.fetchrow(STATES, partition.first_offset)
    if state is None:
        return
    name = partition.table_name
    if state["detaching"]:
        await _alter(connection, f"DETACH PARTITION projector.{name} FINALIZE")
    elif state["attached"]:
        await wait_for_older_snapshots(connection)
        await _alter(connection, f"DETACH PARTITION projector.{name} CONCURRENTLY")
    # Killed here, the table is there without being part of the log: the next run drops it.
    crash_point("archive.detached")
    async with connection.transaction():
        await connection.execute(f"DROP TABLE IF EXISTS projector.{name}")
        await connection.execute(FORGET, partition.first_offset)
        crash_point("archive.dropping")
    crash_point("archive.dropped")


async def _alter(connection: asyncpg.Connection, what: str) -> None:
    await connection.execute(f"ALTER TABLE projector.event_log {what}", timeout=DDL_SECONDS_MAX)


class SnapshotsHeld(Exception):
    """Transactions are open that began before the partition's file was known."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} transactions are older than the archive file")


async def wait_for_older_snapshots(
    connection: asyncpg.Connection, seconds: float = SNAPSHOT_SECONDS_MAX
) -> None:
    """Waits until no snapshot is in use that does not see what was committed before this call.

    A reader in such a snapshot would find neither the partition nor its file. Raises
    `SnapshotsHeld`.
    """
    held = await connection.fetch(SNAPSHOTS)
    deadline = asyncio.get_running_loop().time() + seconds
    values = [row[0] for row in held], [row[1] for row in held]
    while count := await connection.fetchval(UNDER_WAY, *values):
        if asyncio.get_running_loop().time() >= deadline:
            raise SnapshotsHeld(count)
        await asyncio.sleep(0.1)


async def put_back(connection: asyncpg.Connection, partition: Partition, loaded: str) -> None:
    """Makes a loaded table the partition of its offsets, in place of what is there, at once.

    Readers wait only where a partition must go that is part of the log.
    """
    name, first, end = partition.table_name, partition.first_offset, partition.end_offset
    state = await connection.fetchrow(STATES, first)
    if state is not None and state["detaching"]:
        await _alter(connection, f"DETACH PARTITION projector.{name} FINALIZE")
    async with connection.transaction():
        # As an appender does that makes a partition.
        await connection.execute("LOCK TABLE projector.log_partition IN SHARE ROW EXCLUSIVE MODE")
        state = await connection.fetchrow(STATES, first)
        if state is not None and state["attached"]:
            await connection.execute(
                f"ALTER TABLE projector.event_log DETACH PARTITION projector.{name}"
            )
        await connection.execute(f"DROP TABLE IF EXISTS projector.{name}")
        await connection.execute(f"ALTER TABLE projector.{loaded} RENAME TO {name}")
        for suffix in ("pkey", "range"):
            await connection.execute(
                f"ALTER TABLE projector.{name}"
                f" RENAME CONSTRAINT {loaded}_{suffix} TO {name}_{suffix}"
            )
        await _alter(
            connection, f"ATTACH PARTITION projector.{name} FOR VALUES FROM ({first}) TO ({end})"
        )
        await connection.execute(FORGET, first)
        await connection.execute(
            "INSERT INTO projector.log_partition VALUES ($1, $2, $3)", name, first, end
        )
        crash_point("restore.attaching")
