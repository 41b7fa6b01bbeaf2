"""Every command that works on log and tables, while ingest, a daemon and a reader go on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from projector.database import Database
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.rebuilding import left_behind
from tests.support.watch import Watch

SOURCE = "generate:seed=5,accounts=400,rate=400,duplicates=0.02,invalid=0.002"
"""Without an end; so many a second."""

PARTITION = ("--partition-events", "1000", "--recent-events", "200")
BUSIEST = """
SELECT did FROM projector.event_log WHERE did <> '' GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1
"""
ERASED = """
SELECT count(*) FROM projector.event_log
WHERE did = $1 AND log_offset <= (SELECT through_offset FROM projector.erasure)
"""


@pytest.mark.timeout(600)
async def test_all_commands_while_events_arrive(tmp_path: Path, database: Database) -> None:
    place = Place(tmp_path, "--database", database.url)
    await place.ok("init", *PARTITION)
    async with Watch(database.url) as watch:
        ingest = place.start("ingest", SOURCE, *PARTITION)
        daemon = place.start("run")
        over = asyncio.Event()
        reading = asyncio.create_task(read(database, over))
        try:
            await watch.until(watch.head, 3000)
            did = await watch.value(BUSIEST)
            await place.ok("rebuild", "--all")
            await place.ok("archive", "--to", str(tmp_path / "archive"), *PARTITION)
            await place.ok("rebuild", "like", "--keep-old")
            await place.ok("rollback", "like")
            await place.ok("rebuild", "like", "--abandon")
            first = "(SELECT min(uri) FROM bsky.follow)"
            await watch.execute(f"DELETE FROM bsky.follow WHERE uri = {first}")
            await place.run("verify", "--rows")
            await place.ok("heal", "--all-differences")
            await place.ok("replay", "post", "--from", "1", "--to", "1500")
            await place.ok("explain", "postsCount", did)
            await place.ok("as-of", "2000", "--into", "earlier")
            await place.ok("forget", did, "--yes")
            assert await watch.value(ERASED, did) == 0
            assert ingest.is_running, ingest.said
        finally:
            over.set()
            looks = await reading
        assert looks > 10
        ingest.terminate()
        assert await ingest.code() == 0, ingest.said

        async def caught_up() -> bool:
            assert daemon.is_running, daemon.said
            return await watch.is_caught_up()

        await until(caught_up, seconds=60)
        daemon.terminate()
        assert await daemon.code() == 0, daemon.said
        verdict = await place.json("verify", "--all")
        assert verdict["exact"], verdict
        assert verdict["differences"] == []
        assert (await place.run("rebuild", "--all", "--dry-run")).code == 0
    assert await left_behind(database) == []


async def read(database: Database, over: asyncio.Event) -> int:
    """Looks at all tables, and whether all counts are exact, until told to end; how often."""
    looks = 0
    connection = await database.connect("test reader")
    while not over.is_set():
        for table in ("post", "follow", "like", "repost", "profile_agg", "post_agg"):
            assert await connection.fetchval(f'SELECT count(*) FROM bsky."{table}"') >= 0
        looks += 1
        await asyncio.sleep(0.05)
    await connection.close()
    return looks
