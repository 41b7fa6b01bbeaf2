"""Invariant 7: counts are provable at any instant, on the live system, with zero tolerance."""

from __future__ import annotations

import asyncio

import pytest

from events.generate import Generator
from projector.aggregate import Difference, audit
from projector.daemon import Daemon
from projector.database import Database
from projector.errors import Corruption
from projector.settings import Settings
from tests.golden.test_golden import golden_events
from tests.support import engine
from tests.support.harness import until
from tests.support.histories import DIDS, FOLLOW, POST, made

PENDING = "SELECT coalesce(sum(cardinality(keys)), 0) FROM projector.outbox"
SETTINGS = Settings(window_events_max=20, window_events_min=20, outbox_rows_max=1)


async def test_invariant_7_every_snapshot_of_a_run_is_exact(database: Database) -> None:
    """Several daemons, small windows, merges that lag behind: all the while no difference."""
    await engine.create(database)
    await engine.append(database, golden_events("whole")[:2500])
    daemons = [Daemon(database, engine.DECLARATIONS, SETTINGS) for _ in range(2)]
    runs = [asyncio.create_task(d.run(asyncio.Event(), until_caught_up=True)) for d in daemons]
    connection = await database.connect("test audit")
    snapshots = pending = 0
    while not all(run.done() for run in runs):
        assert await audit(connection, engine.AGGREGATES, "bsky") == []
        snapshots += 1
        pending += bool(await connection.fetchval(PENDING))
    await asyncio.gather(*runs)
    assert snapshots >= 10
    assert pending > 0
    assert await audit(connection, engine.AGGREGATES, "bsky") == []
    await connection.close()


async def test_invariant_7_what_is_pending_counts(database: Database) -> None:
    """Without aggregate projectors nothing is stored; rows and outbox still agree."""
    await engine.create(database)
    await engine.append(database, golden_events("graph")[:500])
    tables = [d.name for d in engine.DECLARATIONS if d not in engine.AGGREGATES]
    await engine.project(database, only=tables)
    assert (await engine.tables_of(database))["profile_agg"] == []
    assert await engine.differences(database) == []
    connection = await database.connect("test plant")
    await connection.execute("DELETE FROM projector.outbox")
    found = await audit(connection, engine.AGGREGATES, "bsky", differences_max=100_000)
    assert sum(d.counted for d in found if d.counter == "followsCount") == len(
        (await engine.tables_of(database))["follow"]
    )
    assert {(d.stored, d.pending) for d in found} == {(0, 0)}
    await connection.close()


DID = DIDS[0]
OUTBOX = (
    "INSERT INTO projector.outbox (aggregate, counter, keys, deltas, projection, through_offset)"
    " VALUES ('profile_agg', 'postsCount', ARRAY[$1::text], $2, 'post', 1)"
)
PLANTS = {
    "a counter too high": (
        'UPDATE bsky.profile_agg SET "followersCount" = "followersCount" + 3 WHERE did = $1',
        [Difference("profile_agg", "followersCount", DID, 5, 0, 2)],
    ),
    "a row of counters lost": (
        "DELETE FROM bsky.profile_agg WHERE did = $1",
        [
            Difference("profile_agg", "followersCount", DID, 0, 0, 2),
            Difference("profile_agg", "postsCount", DID, 0, 0, 3),
        ],
    ),
    "a delta too many": (
        OUTBOX.replace("$2", "'{-2}'"),
        [Difference("profile_agg", "postsCount", DID, 3, -2, 3)],
    ),
    "rows lost": (
        "DELETE FROM bsky.post WHERE creator = $1",
        [Difference("profile_agg", "postsCount", DID, 3, 0, 0)],
    ),
}


@pytest.mark.parametrize("name", PLANTS)
async def test_invariant_7_the_audit_finds_a_planted_difference(
    database: Database, name: str
) -> None:
    events = [made(i, "create", FOLLOW, account=i) for i in (1, 2)]
    events += [made(10 + i, "create", POST, rkey=i) for i in range(3)]
    await engine.create(database)
    await engine.append(database, events)
    await engine.project(database)
    assert await engine.differences(database) == []
    connection = await database.connect("test plant")
    statement, expected = PLANTS[name]
    await connection.execute(statement, DID)
    assert await engine.differences(database) == expected
    await connection.close()


async def test_invariant_7_a_counter_below_zero_stops_loudly(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, golden_events("graph")[:200])
    await engine.project(database)
    connection = await database.connect("test plant")
    await connection.execute(OUTBOX, "did:plc:nobody", [-1])
    with pytest.raises(Corruption, match="did:plc:nobody"):
        await engine.project(database)
    assert await connection.fetchval(PENDING) == 1  # rolled back, nothing is lost
    await connection.close()


async def test_invariant_7_the_generators_firehose_is_counted_exactly(database: Database) -> None:
    """Account deletions and re-follows of the generated mix, merged as it goes."""
    await engine.create(database)
    events = [event for event, _ in zip(Generator(5), range(4000), strict=False)]
    await engine.append(database, events)
    await engine.project(database, window_events=300)
    assert await engine.differences(database) == []


async def test_invariant_7_holds_while_a_daemon_is_stopped(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, golden_events("whole")[:1500])
    connection = await database.connect("test audit")
    for rows in (50, 400):
        stop = asyncio.Event()
        run = asyncio.create_task(Daemon(database, engine.DECLARATIONS, SETTINGS).run(stop))

        async def has_rows(least: int = rows) -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM bsky.post") >= least // 10)

        await until(has_rows)
        stop.set()
        await run
        assert await audit(connection, engine.AGGREGATES, "bsky") == []
    await engine.project(database)
    assert await engine.differences(database) == []
    await connection.close()
