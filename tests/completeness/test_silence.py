"""Silence from end to end: a real host, its events counted by ingest, and what is said of it."""

from __future__ import annotations

import time

import asyncpg
import pytest

from events.event import Event
from projector import rates
from projector.database import Database
from projector.exposition import Exposition
from projector.observer import Observer
from projector.rates import Rates, is_live
from projector.settings import Settings
from projector.silence import read_rhythms, silences
from projector.state import headline
from projector.status import read_status
from tests.completeness.upstream import FOLLOW, LIKE, POST, commit, ingesting, now_us
from tests.support.engine import DECLARATIONS, create
from tests.support.harness import until
from tests.support.jetstream_server import JetstreamServer
from tests.support.watch import Watch

MINUTE_US = 60_000_000
HEARD = "SELECT coalesce(sum(events), 0) FROM projector.rate WHERE seconds = 60 AND collection = ''"
BUCKETS = """
SELECT collection, seconds, begins, events, newest_us FROM projector.rate ORDER BY 1, 2, 3
"""


def history(begin_us: int, minutes: int, *collections: str, first: int = 1) -> list[bytes]:
    """Three events a minute of each collection."""
    found, number = [], first
    for step in range(minutes * 3):
        for collection in collections:
            time_us = begin_us + step * MINUTE_US // 3
            found.append(commit(number, collection, time_us=time_us))
            number += 1
    return found


async def test_a_collection_that_goes_quiet_is_said_at_once_and_no_other(
    database: Database, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "WRITE_SECONDS", 0.0)
    await create(database)
    begin_us = now_us() - 200 * MINUTE_US
    # As small as when they come one by one: each minute has one.
    settings = Settings(batch_events_max=2)
    observer = Observer(database, DECLARATIONS)
    async with JetstreamServer(history(begin_us, 60, LIKE, FOLLOW)) as server:
        source = f"{server.url}?cursor=1"
        async with ingesting(database, source, settings):
            heard = 360
            await watch.until(lambda: watch.count(HEARD), heard - 2)
            # In its first hour nothing is called silent, whatever stays away.
            server.append(*history(begin_us + 60 * MINUTE_US, 25, FOLLOW, first=1000))
            await watch.until(lambda: watch.count(HEARD), heard + 73)
            await observer.look()
            assert observer.latest is not None
            assert observer.latest.status.silences == []

            server.append(*history(begin_us + 85 * MINUTE_US, 85, LIKE, FOLLOW, first=2000))
            server.append(*history(begin_us + 170 * MINUTE_US, 30, FOLLOW, first=4000))
            server.append(commit(5000, FOLLOW), commit(5001, POST))
            await watch.until(lambda: watch.count(HEARD), heard + 75 + 510 + 88)
            await observer.look()
            assert observer.latest is not None
            status = observer.latest.status
            assert [s.collection for s in status.silences] == [LIKE]
            silence = status.silences[0]
            since = (begin_us + 170 * MINUTE_US) / 1e6
            assert abs(silence.since - since) < 120
            assert 3 / 60 * 0.6 < silence.usual_per_second < 3 / 60 * 1.4
            sentence, level = headline(observer)
            assert level == "bad"  # No projection is run here.
            at = time.strftime("%H:%M", time.gmtime(silence.since))
            assert f"{LIKE} has brought nothing since {at} UTC" in sentence
            assert f"(before: {silence.usual_per_second:.2g}/s): projector probe" in sentence

            text = Exposition(observer).render("")[0].decode()
            assert f'projector_silent_collections{{source="{server.url}"}} 1.0' in text
            assert f'projector_collection_silent_seconds{{collection="{LIKE}"' in text
    await (observer._connection or pytest.fail()).close()


@pytest.mark.parametrize("minute", [0, 20, 40])
async def test_after_a_gap_of_the_source_nothing_is_silent(
    database: Database, monkeypatch: pytest.MonkeyPatch, minute: int
) -> None:
    """Of a collection that has yet to come again, nothing is known of the time in between; wherever
    in their hours it began."""
    monkeypatch.setattr(rates, "WRITE_SECONDS", 0.0)
    await create(database)
    connection = await database.connect("test")
    begin_us = 1_700_000_000_000_000 // (60 * MINUTE_US) * 60 * MINUTE_US + minute * MINUTE_US
    counted = Rates("jetstream")
    for line in (*range(180), 290, 291):
        at_us = begin_us + line * MINUTE_US
        names = (FOLLOW, LIKE) if line < 180 else (FOLLOW,)
        counted.add([event(at_us + n, name) for name in names for n in range(30)])
        await counted.write(connection)
    assert silences(await read_rhythms(connection)) == []
    for line in range(292, 330):
        counted.add([event(begin_us + line * MINUTE_US, FOLLOW)] * 30)
        await counted.write(connection)
    found = silences(await read_rhythms(connection))
    assert [(s.collection, s.since) for s in found] == [
        (LIKE, pytest.approx((begin_us + 179 * MINUTE_US) / 1e6, abs=1))
    ]
    await connection.close()


async def test_a_source_is_silent_by_its_own_past(
    database: Database, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three events a minute: a minute without any says nothing; far more of them do."""
    monkeypatch.setattr(rates, "WRITE_SECONDS", 0.0)
    await create(database)
    connection = await database.connect("test")
    lines = history(now_us() - 180 * MINUTE_US, 179, FOLLOW)
    settings = Settings(batch_events_max=5)
    async with (
        JetstreamServer(lines) as server,
        ingesting(database, f"{server.url}?cursor=1", settings),
    ):
        await watch.until(lambda: watch.count(HEARD), len(lines) - 5)
        for idle, silent in ((600, False), (3000, True)):
            await watch.execute(
                "UPDATE projector.source_cursor SET updated_at = now() - $1 * interval '1 s'",
                idle,
            )
            status = await read_status(connection, DECLARATIONS)
            assert [s.is_silent for s in status.sources] == [silent]
            assert ("has brought nothing for" in status.sentence) is silent
    await connection.close()


def event(time_us: int, collection: str | None = LIKE) -> Event:
    return Event(0, "did:plc:a", "commit" if collection else "account", "create", collection,
                 "r", "v", None, None, time_us)  # fmt: skip


async def test_events_are_counted_by_minute_and_hour_of_their_own_time(
    database: Database, watch: Watch
) -> None:
    await create(database)
    connection = await database.connect("test")
    now = 1_800_000_000.0  # A full hour.
    counted = Rates("jetstream", lambda: now)
    hour_us = 1_799_996_400_000_000
    counted.add([event(hour_us + 1), event(hour_us + 2, FOLLOW), event(hour_us + 3, None)])
    counted.add([event(hour_us + 61_000_000)])
    counted.add([])
    # In the middle of its batch no odd one moves anything; ahead of the clock is now.
    counted.add([event(hour_us + 62_000_000), event(hour_us + 63_000_000), event(2**60)])
    counted.add([event(2**60)])
    await counted.write(connection)
    counted.add([event(hour_us + 64_000_000)])
    await counted.write(connection)  # Too soon.
    rows = await watch.rows(BUCKETS)
    start = hour_us // 1_000_000
    assert [row for row in rows if row[0] == LIKE] == [
        (LIKE, 60, start, 1, hour_us + 2),
        (LIKE, 60, start + 60, 4, hour_us + 63_000_000),
        (LIKE, 60, start + 3600, 1, int(now * 1e6)),
        (LIKE, 3600, start, 5, hour_us + 63_000_000),
        (LIKE, 3600, start + 3600, 1, int(now * 1e6)),
    ]
    assert [row[3] for row in rows if row[0] == FOLLOW] == [1, 1]
    assert [row[3] for row in rows if row[0] == "" and row[1] == 3600] == [7, 1]
    now += 11
    await counted.write(connection)
    assert [r[3] for r in await watch.rows(BUCKETS) if r[0] == LIKE and r[1] == 3600] == [6, 1]
    await connection.close()


async def test_what_is_kept_is_bounded_in_names_and_in_time(
    database: Database, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(database)
    connection: asyncpg.Connection = await database.connect("test")
    monkeypatch.setattr(rates, "COLLECTIONS_MAX", 3)
    now = 1_800_000_000.0
    counted = Rates("jetstream", lambda: now)
    names = "SELECT DISTINCT collection FROM projector.rate WHERE collection <> '' ORDER BY 1"
    for hour in range(60):
        now += 3600
        at_us = int(now * 1e6)
        # Names that nobody knows, each once; and three that come again and again, one of them not
        # in the last hours.
        counted.add([event(at_us, f"junk.{hour}.{n}") for n in range(5)])
        steady = ("a", "b") if hour > 30 else ("a", "b", "c")
        counted.add([event(at_us, name) for name in steady for _ in range(3)])
        await counted.write(connection)
    assert {"a", "b"} <= {row[0] for row in await watch.rows(names)}
    assert len(await watch.rows(names)) <= 3
    # Minutes of two hours and hours of a day, of each up to its newest.
    assert await watch.count("SELECT count(*) FROM projector.rate WHERE collection = 'a'") <= 32
    monkeypatch.setattr(rates, "GONE_SECONDS", 3600)
    now += 7200
    counted.add([event(int(now * 1e6), "a")])
    await counted.write(connection)
    now += 7200
    counted.add([event(int(now * 1e6), "a")])
    await counted.write(connection)
    assert await watch.rows(names) == [("a",)]
    await connection.close()


def test_only_sources_that_never_end_are_counted() -> None:
    assert all(map(is_live, ("jetstream", "wss://h/subscribe", "redis://h:6379/0?stream=s")))
    assert not any(map(is_live, ("file:/a", "generate:events=1", "test")))


async def test_without_the_right_to_keep_rates_ingest_goes_on(
    database: Database, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "WRITE_SECONDS", 0.0)
    await create(database)
    await watch.execute("DROP TABLE projector.rate")
    async with JetstreamServer([commit(n, LIKE) for n in range(1, 21)]) as server:
        settings = Settings(batch_events_max=2)
        async with ingesting(database, f"{server.url}?cursor=1", settings):

            async def there() -> bool:
                return await watch.head() == 20

            await until(there)
