"""Readers of several tables do not keep a rebuild from swapping."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import asyncpg
import pytest

from projections.profile_agg import profile_agg
from projector import swap
from projector.database import Database
from tests.invariants.test_invariant_10 import some_of_all
from tests.support import engine
from tests.support.harness import until
from tests.support.rebuilding import rebuild

BOTH = """
SELECT (SELECT count(*) FROM bsky.profile_agg) AS counts, (SELECT count(*) FROM bsky.repost)
"""
WAITS = "SELECT count(*) FROM pg_stat_activity WHERE query = $1 AND wait_event_type = 'Lock'"


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
