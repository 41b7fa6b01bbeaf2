"""What ingest counts is what the database has of it, through a lost connection too."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

import asyncpg

from projector import tally
from projector.commands.flow import into_log
from projector.database import Database
from projector.facts import read_redis
from projector.settings import Settings
from projector.sources import source_of
from projector.tally import Durations, Numbers
from tests.support import lines as by_hand
from tests.support.engine import create
from tests.support.harness import until
from tests.support.jetstream_consumer import lines
from tests.support.jetstream_server import JetstreamServer
from tests.support.records import follow
from tests.support.redis_case import STREAM, Said, a_source, fill, group_facts, take
from tests.support.redis_server import RedisServer, redis_binaries, require_redis

STORED = """
SELECT appends, events, duplicates, undecodable, message_bytes, skipped::text
FROM projector.source_cursor WHERE source = $1
"""
LETTERS = "SELECT reason, count(*) FROM projector.dead_letter WHERE source = $1 GROUP BY 1"


def of(numbers: Numbers, source: str) -> float:
    """What was counted of one source, whatever the reasons."""
    return sum(n for labels, n in numbers.values.items() if labels[0] == source)


def taken(durations: Durations, source: str) -> int:
    return sum(durations.values[(source,)].counts)


async def test_repeats_after_a_lost_connection_are_counted_as_such(
    database: Database, database_url: str
) -> None:
    await create(database)
    stop = asyncio.Event()
    connection = await asyncpg.connect(database_url)
    async with JetstreamServer(lines(40)) as server:
        settings = Settings(rewind_seconds=2.0, backoff_seconds_max=0.5)
        name = source_of(server.url, settings).name
        address = f"{server.url}?cursor=1700000000000000"
        working = asyncio.create_task(into_log(database, address, settings, stop))

        async def has(events: int) -> bool:
            row = await connection.fetchrow(STORED, name)
            return row is not None and row["events"] == events

        await until(lambda: has(40))
        server.drop_all()
        await server.until(lambda: len(server.connections) == 2)
        server.append(*lines(45, 40))
        await until(lambda: has(45))
        stop.set()
        await working
    appends, events, duplicates, undecodable, size, _ = await connection.fetchrow(STORED, name)
    await connection.close()
    # Ten events a second of the network's clock, and the one that the cursor names.
    assert duplicates == 21
    assert of(tally.RECONNECTS, name) == 1
    assert (of(tally.APPENDED, name), of(tally.DUPLICATES, name)) == (events, duplicates)
    assert (of(tally.APPENDS, name), of(tally.RECEIVED, name)) == (appends, size)
    assert (taken(tally.APPEND_SECONDS, name), undecodable) == (appends, 0)


async def test_what_cannot_be_read_and_what_is_not_wanted_is_counted_by_reason(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    await create(database)
    other = by_hand.commit(2, {"$type": "org.example.other"}, collection="org.example.other")
    messages = [by_hand.commit(1, follow()), b"{not json", b"{}", other, other]
    text = by_hand.write(tmp_path / "few.jsonl", messages)
    settings = Settings(collections="app.bsky.*")
    await into_log(database, text, settings, asyncio.Event())
    name = source_of(text, settings).name
    connection = await asyncpg.connect(database_url)
    letters = dict(await connection.fetch(LETTERS, name))
    row = await connection.fetchrow(STORED, name)
    await connection.close()
    assert sum(letters.values()) == row["undecodable"] == 2
    counted = {key[1]: n for key, n in tally.UNDECODABLE.values.items() if key[0] == name}
    assert counted == letters
    assert of(tally.SKIPPED, name) == 2
    assert of(tally.APPENDED, name) == row["events"] == 1


async def test_a_redis_that_goes_away_is_counted_once(tmp_path: Path) -> None:
    require_redis()
    lost: list[int] = []
    said = Said()
    async with RedisServer(next(iter(redis_binaries().values())), tmp_path / "redis") as redis:
        source = a_source(redis, said, on_lost=lambda: lost.append(1))
        await fill(redis, 3)
        async with aclosing(source.batches(None)) as stream:
            await take(stream, 3)
            assert lost == []
            await redis.kill()
            following = asyncio.create_task(take(stream, 2))
            await said.wait_for("waiting")
            await redis.start()
            await fill(redis, 2, first=3, cursor="again")
            await following
    assert lost == [1]


async def test_the_setting_names_the_group_unless_the_address_does(tmp_path: Path) -> None:
    require_redis()
    async with RedisServer(next(iter(redis_binaries().values())), tmp_path / "redis") as redis:
        await fill(redis, 3)
        settings = Settings(stream_group="ours")
        for address, group in ((redis.url, "ours"), (redis.url + "?group=theirs", "theirs")):
            text = f"{address}{'&' if '?' in address else '?'}stream={STREAM}"
            source = source_of(text, settings)
            async with aclosing(source.batches(None)) as stream:
                await take(stream, 3)
                facts = await read_redis(text, settings.stream_group)
            assert (await group_facts(redis, group))["pending"] == facts.pending == 3
            assert facts.entries == 3
