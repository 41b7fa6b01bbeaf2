"""The sequence of ops/MOVING_IN.md: from rsky's streams and tables to ours, under readers' eyes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from pathlib import Path

import asyncpg
import msgspec

from events.event import Batch, Event
from events.generate import Generator
from events.streams.sink import RedisSink
from projections.record import records
from projector.database import Database
from tests.simulator.case import CURSORS
from tests.style.test_style import ROOT
from tests.support.cli import KEPT, Place
from tests.support.engine import DECLARATIONS, append, create, project
from tests.support.harness import until
from tests.support.redis_case import Said
from tests.support.redis_server import RedisServer, redis_binaries, require_redis
from tests.support.watch import Watch

EVENTS = 2_000
BEFORE = 1_200
"""So many events the indexer of before has seen, the last few of them given to it and not done."""
UNDONE = 7
KEEPING = [*DECLARATIONS, records]
GROUP = "firehose_group"
LIVE, BACKFILL = "firehose_live", "firehose_backfill"
NEXT = {"PROJECTOR_SCHEMA": "bsky_next"}

DAMAGE = (
    # Section 7.8 of the reference: counts of likes and followers are switched off (16) …
    'UPDATE bsky.post_agg SET "likeCount" = 0',
    'UPDATE bsky.profile_agg SET "followersCount" = 0',
    # … losers of a claim are dropped, and nobody takes the winner's place (15) …
    "DELETE FROM bsky.duplicate_record",
    'DELETE FROM bsky."like" WHERE uri IN (SELECT uri FROM bsky."like" ORDER BY uri LIMIT 20)',
    # … updates change nothing (14), and a deleted record leaves a row (17).
    "UPDATE bsky.post SET text = 'as it was' WHERE uri IN"
    " (SELECT uri FROM bsky.post ORDER BY uri LIMIT 20)",
    """INSERT INTO bsky.record (uri, cid, did, json, "indexedAt") SELECT
    'at://did:plc:tombstone/app.bsky.feed.post/' || n, '', 'did:plc:tombstone', '{}', now()::text
    FROM generate_series(1, 20) AS n""",
    # What the AppView keeps beside, and we know nothing of.
    "CREATE TABLE bsky.kysely_migration (name text PRIMARY KEY)",
    "INSERT INTO bsky.kysely_migration VALUES ('20230309T045948368Z')",
)
WRONG_COUNTS = """
SELECT count(*) FROM bsky.post_agg AS a WHERE "likeCount" <>
    (SELECT count(*) FROM bsky."like" AS l WHERE l.subject = a.uri)
"""


def living(events: Iterable[Event]) -> dict[str, Event]:
    """The records that are there after these events: told without any of our machinery."""
    found: dict[str, Event] = {}
    for event in events:
        if event.kind != "commit":
            if event.removes_account:
                found = {uri: e for uri, e in found.items() if e.did != event.did}
        elif event.action == "delete":
            found.pop(event.uri, None)
        else:
            found[event.uri] = event
    return found


def backfilled(events: Sequence[Event]) -> list[Event]:
    """What rsky's backfiller makes of the repos as they are after these events: a create for each
    record, by the repo's newest revision."""
    revs = {event.did: event.rev for event in events if event.rev}
    return [
        msgspec.structs.replace(event, action="create", rev=revs[event.did])
        for event in living(events).values()
    ]


async def filled(redis: RedisServer, stream: str, events: Sequence[Event]) -> None:
    """Writes a stream in rsky's form."""
    sink = RedisSink(redis.url, stream, report=Said())
    for i in range(0, len(events), 500):
        await sink.append(f"part {i}", None, Batch("1", list(events[i : i + 500])))
    await sink.close()


async def indexed_by_another(database: Database, events: Sequence[Event]) -> None:
    """Tables as an indexer of before has left them, and nothing of ours."""
    await create(database, KEEPING)
    await append(database, events)
    await project(database, declarations=KEEPING)
    connection = await database.connect("test")
    try:
        for statement in ("DROP SCHEMA projector CASCADE", *DAMAGE):
            await connection.execute(statement)
    finally:
        await connection.close()


async def consumed(redis: RedisServer) -> None:
    """What its group has done of the live stream: all is acknowledged and deleted but a few."""
    await redis.run("XGROUP", "CREATE", LIVE, GROUP, "0")
    words = ("COUNT", BEFORE, "STREAMS", LIVE, ">")
    ((_, entries),) = await redis.run("XREADGROUP", "GROUP", GROUP, "indexer_1", *words)
    done = [entry[0] for entry in entries[:-UNDONE]]
    await redis.run("XACK", LIVE, GROUP, *done)
    await redis.run("XDEL", LIVE, *done)


class Reader:
    """A reader that asks the same over and over, by statements prepared once."""

    def __init__(self) -> None:
        self.answers = 0
        self.errors: list[str] = []
        self.longest_seconds = 0.0
        self.least_posts = 1 << 60

    async def read(self, url: str) -> None:
        connection = await asyncpg.connect(url)
        counting = await connection.prepare("SELECT count(*) FROM bsky.post")
        joining = await connection.prepare(
            'SELECT p.uri, a."likeCount" FROM bsky.post AS p JOIN bsky.post_agg AS a USING (uri)'
            " ORDER BY p.uri LIMIT 5"
        )
        try:
            while True:
                begun = time.monotonic()
                try:
                    self.least_posts = min(self.least_posts, await counting.fetchval())
                    await joining.fetch()
                except asyncpg.PostgresError as error:
                    self.errors.append(str(error))
                self.answers += 1
                self.longest_seconds = max(self.longest_seconds, time.monotonic() - begun)
                await asyncio.sleep(0.02)
        finally:
            connection.terminate()


@asynccontextmanager
async def reading(url: str) -> AsyncIterator[Reader]:
    reader = Reader()
    task = asyncio.create_task(reader.read(url))
    try:
        yield reader
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_operator_moves_in(tmp_path: Path, database: Database, watch: Watch) -> None:
    require_redis()
    events = list(islice(Generator(seed=5, accounts=80, invalid=0.0), EVENTS))
    before = events[:BEFORE]
    await indexed_by_another(database, before)
    place = Place(tmp_path, "--database", database.url, PROJECTOR_PROJECTIONS=f"{KEPT},record")
    binary = next(iter(redis_binaries().values()))
    async with RedisServer(binary, tmp_path / "redis") as redis:
        await filled(redis, LIVE, events)
        await consumed(redis)
        await filled(redis, BACKFILL, backfilled(before))
        posts = await watch.count("SELECT count(*) FROM bsky.post")
        async with reading(database.url) as reader:
            await place.ok("init", env=NEXT)
            # The live stream first: what is backfilled after it must not undo it.
            await ingested(place, watch, redis, f"{LIVE}&after_group={GROUP}")
            # From where the old indexer stopped, and nothing twice.
            assert await watch.head() == EVENTS - BEFORE + UNDONE
            await ingested(place, watch, redis, BACKFILL)
            await place.ok("run", "--until-caught-up", env=NEXT)
            await place.ok("verify", "--all", env=NEXT)
            assert await watch.count(WRONG_COUNTS) > 0
            assert reader.least_posts == posts
            await moved_in(database)
            await place.ok("verify", "--all")
            seen = reader.answers

            async def goes_on() -> bool:
                return reader.answers > seen + 5

            await until(goes_on)
        assert reader.errors == []
        assert reader.longest_seconds < 10

    assert await watch.count(WRONG_COUNTS) == 0
    kept = {uri for (uri,) in await watch.rows("SELECT uri FROM bsky.record")}
    known = {e.uri for e in events if e.kind == "commit"}
    must = living(events)
    collections = records.collections
    assert kept == {uri for uri, event in must.items() if event.collection in collections}
    assert kept <= known
    found = {uri for (uri,) in await watch.rows("SELECT uri FROM bsky.post")}
    assert found == {uri for uri, e in must.items() if e.collection == "app.bsky.feed.post"}
    assert not await watch.rows("SELECT FROM bsky.post WHERE text = 'as it was'")
    assert await watch.count("SELECT count(*) FROM bsky.kysely_migration") == 1
    assert await watch.count("SELECT count(*) FROM bsky_before.post") == posts

    # From now on under the usual name.
    await append(database, events[-1:], source="more")
    await place.ok("run", "--until-caught-up")


async def moved_in(database: Database) -> None:
    """Runs the file as psql does; again where somebody's query was in the way."""
    statements = (ROOT / "ops/moving_in.sql").read_text()

    async def done() -> bool:
        connection = await database.connect("psql")
        try:
            await connection.execute(statements)
        except asyncpg.LockNotAvailableError:
            return False
        finally:
            await connection.close()
        return True

    await until(done, seconds=60)


async def ingested(place: Place, watch: Watch, redis: RedisServer, stream: str) -> None:
    """Ingests a stream until the log has its last entry."""
    told = await redis.run("XINFO", "STREAM", stream.partition("&")[0])
    last = dict(zip(told[::2], told[1::2], strict=True))[b"last-generated-id"].decode()
    async with place.start("ingest", f"{redis.url}?stream={stream}", env=NEXT) as running:
        await watch.until(lambda: watch.count(CURSORS, last), 1)
        running.terminate()
        assert await running.code() == 0
        assert "LOST" not in running.said
