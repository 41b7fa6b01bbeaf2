"""Loading by several processes: the same tables, whoever of them is killed when."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ops.bench.processes import children, rss_bytes
from projector.database import Database
from projector.loading import windows
from tests.support.cli import Place, Running
from tests.support.harness import until
from tests.support.rebuilding import left_behind
from tests.support.watch import Watch

SOURCE = "generate:events=8000,seed=12,accounts=300,duplicates=0.05,invalid=0.01"
LOADING = ("--window-events-max", "500", "--lease-seconds", "0.5", "--rebuild-share", "1")
BY_TWO = ("rebuild", "--all", *LOADING, "--rebuild-processes", "2")
HELD = "SELECT FROM projector.build WHERE name NOT LIKE '%agg@%' FOR UPDATE"
WAITING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'projector/rebuild load' AND wait_event_type = 'Lock'
"""
LOADERS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = 'projector/rebuild load'
"""
LOADED = """
SELECT coalesce(sum(upper(r) - lower(r)), 0)::int FROM projector.build, unnest(loaded) AS r
WHERE phase = 'load'
"""


def test_ranges_are_cut_where_windows_end() -> None:
    assert windows([(1, 26)], 10) == [(0, 10), (10, 20), (20, 25)]
    # What is left where the offsets 4 to 12 and 20 are loaded.
    assert windows([(1, 4), (13, 20), (21, 22)], 10) == [(0, 3), (12, 19), (20, 21)]
    assert windows([], 10) == []


@pytest.fixture
async def place(tmp_path: Path, database: Database) -> Place:
    """A database with exact tables."""
    place = Place(tmp_path, "--database", database.url)
    await place.ok("init")
    await place.ok("ingest", SOURCE)
    await place.ok("run", "--until-caught-up")
    return place


@asynccontextmanager
async def held(
    database: Database, place: Place, watch: Watch
) -> AsyncIterator[tuple[Running, int]]:
    """A rebuild whose four strands, two here and two in a loader, each have a window to commit and
    may not; with the loader's process id. Some windows are loaded already."""
    ended = await place.run(*BY_TWO[:2], *LOADING, env={"PROJECTOR_CRASH_AT": "rebuild.window:9"})
    assert ended.code == -signal.SIGKILL, ended.err
    assert await watch.value(LOADED) > 0
    holder = await database.connect("test holds")
    async with holder.transaction():
        await holder.execute(HELD)
        async with place.start(*BY_TWO) as running:

            async def all_wait() -> bool:
                assert running.is_running, running.said
                return bool(await watch.value(WAITING) == 4)

            await until(all_wait, seconds=60)
            (loader,) = children(running.pid)
            yield running, loader
    await holder.close()


async def makes_good(place: Place, watch: Watch, right: dict[str, object]) -> None:
    done = await place.json(*BY_TWO)
    assert done["swapped"]
    assert (done["rows_different"], done["counts_different"]) == (0, 0)
    assert await watch.fingerprints() == right


async def test_two_processes_make_the_same_tables_as_one(database: Database, place: Place) -> None:
    async with Watch(database.url) as watch:
        right = await watch.fingerprints()
        one = await place.json("rebuild", "--all", *LOADING)
        assert await watch.fingerprints() == right
        two = await place.json(*BY_TWO)
        assert await watch.fingerprints() == right
        assert two["events"] == one["events"] > 7000
        assert await watch.value(LOADERS) == 0
    assert await left_behind(database) == []


async def test_a_rebuild_whose_loader_is_killed_says_so_and_goes_on_the_next_time(
    database: Database, place: Place
) -> None:
    async with Watch(database.url) as watch:
        right = await watch.fingerprints()
        async with held(database, place, watch) as (running, loader):
            os.kill(loader, signal.SIGKILL)
            assert await running.code() == 1
            assert "a loader process ended with -9; run the same command" in running.said
            assert "Traceback" not in running.said
        await makes_good(place, watch, right)
    assert await left_behind(database) == []


async def test_a_loader_ends_with_its_rebuild(database: Database, place: Place) -> None:
    async with Watch(database.url) as watch:
        right = await watch.fingerprints()
        async with held(database, place, watch) as (running, loader):
            running.kill()
            await running.code()

            async def is_gone() -> bool:
                return rss_bytes(loader) == 0

            # Though the window that it has in work still waits.
            await until(is_gone, seconds=30)

        async def all_gone() -> bool:
            return bool(await watch.value(LOADERS) == 0)

        await until(all_gone, seconds=30)
        await makes_good(place, watch, right)
    assert await left_behind(database) == []
