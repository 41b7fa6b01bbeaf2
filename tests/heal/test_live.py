"""Healing and replaying while ingest and daemon go on: at no moment is a count out of step."""

from __future__ import annotations

import random

import asyncpg
import pytest

from projector.aggregate import audit
from projector.database import Database
from projector.heal import HEAL_SETTINGS, heal
from projector.mend import Mender, Patch
from projector.replay import Replay
from tests.support.cli import Place
from tests.support.engine import AGGREGATES, DECLARATIONS, append, project
from tests.support.harness import PROJECTIONS, reset, until
from tests.support.logs import read_events
from tests.support.watch import Watch

EVENTS = 5_000
SOURCE = f"generate:events={EVENTS},seed=9,accounts=30,rate=1000"
ROUNDS_MIN = 10

BUSY = 'SELECT did FROM bsky.profile_agg ORDER BY "followersCount" DESC, did LIMIT 3'
COUNTER_UP = """
UPDATE bsky.profile_agg SET "followersCount" = "followersCount" + 1, "postsCount" = "postsCount" + 2
WHERE did = $1
"""
ROWS_GONE = """
DELETE FROM bsky."{0}" WHERE uri IN (
    SELECT uri FROM bsky."{0}" WHERE creator = $1 ORDER BY uri LIMIT 3) RETURNING uri
"""


async def healed(connection: asyncpg.Connection, did: str) -> Patch:
    mender = Mender(DECLARATIONS, "bsky")
    (patch,) = [p async for p in heal(connection, mender, [did], dry_run=False)]
    return patch


async def replayed(connection: asyncpg.Connection, head: int) -> None:
    (likes,) = (p for p in PROJECTIONS if p.name == "like")
    mender = Mender(DECLARATIONS, "bsky", ["like"], owned=False)
    work = Replay(mender, likes, range(max(head - 500, 1), head + 1))
    _ = [patch async for patch in work.run(connection)]


@pytest.mark.timeout(240)
async def test_while_ingest_and_daemon_go_on(
    place: Place, watch: Watch, database: Database
) -> None:
    rng = random.Random(1)
    connection = await database.connect("test heal", **HEAL_SETTINGS)
    admin = await database.connect("test damage")
    async with (
        place.start("run", "--window-events-max", "200", "--window-events-min", "20") as daemon,
        place.start("ingest", SOURCE, "--batch-events-max", "50") as ingest,
    ):
        await until(lambda: watch.rows(BUSY), seconds=60)
        rounds = mended = 0
        while ingest.is_running or rounds < ROUNDS_MIN:
            assert daemon.is_running, daemon.said
            rounds += 1
            did = rng.choice([did for (did,) in await watch.rows(BUSY)])
            await admin.execute(COUNTER_UP, did)
            table = rng.choice(("post", "like"))
            lost = [uri for (uri,) in await admin.fetch(ROWS_GONE.format(table), did)]
            if rounds % 4 == 0:
                await replayed(connection, await watch.checkpoint("like"))
            patch = await healed(connection, did)
            mended += patch.differences
            assert patch.counters
            # Likes that waited may have taken the places of those lost; posts wait for nothing.
            assert table == "like" or {c.uri for c in patch.changes} <= set(lost)
            assert await audit(admin, AGGREGATES, "bsky") == []
        assert mended > 2 * ROUNDS_MIN
        await until(watch.is_caught_up, seconds=60)
        daemon.terminate()
        assert (await ingest.code(), await daemon.code()) == (0, 0), daemon.said + ingest.said
    found = await watch.fingerprints()
    print(f"{rounds} rounds, {mended} differences mended")

    # The same events, undisturbed.
    events = await read_events(admin, 0, EVENTS)
    assert len(events) == EVENTS
    assert await audit(admin, AGGREGATES, "bsky") == []
    await reset(admin)
    await append(database, events)
    await project(database)
    assert await watch.fingerprints() == found
    await admin.close()
    await connection.close()
