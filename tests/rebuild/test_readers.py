"""Who reads several tables, or makes rows of them anew, does not keep a rebuild from swapping."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import asyncpg
import pytest

from projections.notification import notifications
from projections.profile_agg import profile_agg
from projector import swap
from projector.database import Database
from projector.derived import Refresher
from projector.statements import live
from tests.invariants.test_invariant_10 import some_of_all
from tests.support import engine
from tests.support.harness import until
from tests.support.rebuilding import rebuild

BOTH = """
SELECT (SELECT count(*) FROM bsky.profile_agg) AS counts, (SELECT count(*) FROM bsky.repost)
"""
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND wait_event_type = 'Lock'"
REFRESHER_WAITS = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'projector/test refresher' AND wait_event_type = 'Lock'
"""


async def test_a_reader_that_comes_in_the_midst_of_a_swap_waits_and_is_not_in_its_way(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes when the tables of records are moved, and those of counts are not: it would have
    the one that the swap needs next, and wait for the one that the swap has."""
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 21)))
    await engine.project(database)
    counts = (await engine.tables_of(database))[profile_agg.table]
    reader = await asyncpg.connect(database.url)
    watching = await asyncpg.connect(database.url)
    reading: list[asyncio.Task[Any]] = []
    swap_aggregate = swap.swap_aggregate

    async def swapped(*arguments: Any) -> None:
        if not reading:
            reading.append(asyncio.create_task(reader.fetchrow(BOTH)))
            await until(lambda: watching.fetchval(WAITS, BOTH))
        await swap_aggregate(*arguments)

    monkeypatch.setattr(swap, "swap_aggregate", swapped)
    with caplog.at_level(logging.INFO, "projector.rebuild"):
        assert (await rebuild(database)).swapped
    assert "again" not in caplog.text
    assert (await reading[0])["counts"] == len(counts)
    for connection in (reader, watching):
        await connection.close()


async def test_who_refreshes_a_derived_table_waits_and_is_not_in_its_way(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It comes when the tables are locked, and its checkpoint is yet to be moved: it would have
    that, and wait for the tables."""
    await engine.create(database, engine.ALL)
    await engine.append(database, some_of_all(range(1, 21)))
    await engine.project(database, declarations=engine.ALL)
    before = await engine.tables_of(database, ["notification"])
    connection = await database.connect("test refresher")
    watching = await asyncpg.connect(database.url)
    refresher = Refresher(notifications, live(notifications, "bsky"))
    refreshing: list[asyncio.Task[Any]] = []
    lock_live = swap.lock_live

    async def locked(*arguments: Any) -> None:
        await lock_live(*arguments)
        if not refreshing:
            refreshing.append(asyncio.create_task(refresher.merge(connection)))
            await until(lambda: watching.fetchval(REFRESHER_WAITS))

    monkeypatch.setattr(swap, "lock_live", locked)
    with caplog.at_level(logging.INFO, "projector.rebuild"):
        assert (await rebuild(database, declarations=engine.ALL)).swapped
    assert "again" not in caplog.text
    assert (await refreshing[0]).rows == 0
    assert before["notification"]
    assert await engine.tables_of(database, ["notification"]) == before
    for each in (connection, watching):
        await each.close()
