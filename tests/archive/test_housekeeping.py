"""The daemon's housekeeping gives sealed partitions their index, and one daemon does it."""

from __future__ import annotations

import asyncio

import pytest

from events.history import OF_ACCOUNTS
from projector.archiving import Housekeeper
from projector.database import Database
from projector.lease import LeaseKeeper
from projector.partitions import index_sealed
from tests.archive.conftest import Log, append, generated
from tests.support.harness import until

INDEXES = """
SELECT count(*) FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indexrelid
WHERE c.relname LIKE '%\\_did\\_idx' AND x.indisvalid
"""
OWNER = "SELECT owner FROM projector.lease WHERE name = 'housekeeping'"


@pytest.mark.both_servers
async def test_sealed_partitions_are_indexed(log: Log, database: Database) -> None:
    await log.append(await generated(450))
    keepers = [LeaseKeeper(database, lease_seconds=60) for _ in range(2)]
    first, second = (
        asyncio.create_task(Housekeeper(database, keeper, pause_seconds=0.05).run())
        for keeper in keepers
    )
    connection = log.connection

    async def indexes(count: int) -> bool:
        return bool(await connection.fetchval(f"SELECT ({INDEXES}) = {count}"))

    try:
        await until(lambda: indexes(2))
        owner = await connection.fetchval(OWNER)
        await append(connection, await generated(200, spec="seed=2"))
        await until(lambda: indexes(3))
        assert await connection.fetchval(OWNER) == owner
        # Whoever holds it goes: the other does the rest.
        held = [keeper.owner for keeper in keepers].index(owner)
        (first, second)[held].cancel()
        await keepers[held].close()
        await append(connection, await generated(200, spec="seed=3"))
        await until(lambda: indexes(4))
        assert await connection.fetchval(OWNER) == keepers[1 - held].owner
    finally:
        first.cancel()
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        for keeper in keepers:
            await keeper.close()


@pytest.mark.both_servers
async def test_two_at_once_make_each_index_once(log: Log, database: Database) -> None:
    """A daemon that was paused past its lease, and the one that took over."""
    await log.append(await generated(450))
    connections = [await database.connect("test housekeeping") for _ in range(2)]
    made = await asyncio.gather(*map(index_sealed, connections))
    assert sorted(map(len, made)) == [0, 2]
    assert await log.connection.fetchval(INDEXES) == 2
    # The one that found the other at it finds it done.
    assert [await index_sealed(connection) for connection in connections] == [[], []]
    for connection in connections:
        await connection.close()


async def test_an_account_is_found_by_the_index(log: Log, database: Database) -> None:
    await log.append(await generated(450))
    await Housekeeper(database, LeaseKeeper(database)).look()
    # A partition of these tests is so small that a planner reads it whole, unless it may not.
    await log.connection.execute("SET enable_seqscan = off")
    await log.connection.execute("SET enable_indexscan = off; ANALYZE projector.event_log")
    query = f"PREPARE accounts (bigint, bigint, text[], text[]) AS {OF_ACCOUNTS}"
    await log.connection.execute(query)
    plan = await log.connection.fetch(
        "EXPLAIN EXECUTE accounts (1, 200, NULL, '{did:plc:somebody}')"
    )
    assert "event_log_000000000000001_did_idx" in "\n".join(row[0] for row in plan)
