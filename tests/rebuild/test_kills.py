"""A rebuild is killed at each of its steps; the next one makes good, and nothing is left behind."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from events.crashpoints import VARIABLE
from projector.database import Database
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.rebuilding import execute, left_behind
from tests.support.watch import Watch

SOURCE = "generate:events=6000,seed=11,accounts=300,duplicates=0.05,invalid=0.01"
POINTS = (
    "rebuild.created:1",
    "rebuild.created:3",
    "rebuild.window:2",
    "rebuild.window:9",
    "rebuild.noted:1",
    "rebuild.loaded:1",
    "rebuild.loaded:2",
    "rebuild.indexed:1",
    "rebuild.indexed:2",
    "rebuild.settled:1",
    "rebuild.settled:1",
    "rebuild.fed:1",
    "rebuild.counted:2",
    "rebuild.compared:1",
    "rebuild.swapping:1",
    "rebuild.swapped:1",
)


@pytest.fixture
async def place(tmp_path: Path, database: Database) -> Place:
    """A database with exact tables."""
    place = Place(tmp_path, "--database", database.url)
    await place.ok("init")
    await place.ok("ingest", SOURCE)
    await place.ok("run", "--until-caught-up")
    return place


async def test_a_rebuild_killed_at_each_step_makes_good(database: Database, place: Place) -> None:
    rebuild = ("rebuild", "--all", "--window-events-max", "1000", "--lease-seconds", "0.5")
    async with Watch(database.url) as watch:
        right = await watch.fingerprints()
        letters = [right.pop("dead_letter")]
        await execute(database, "UPDATE bsky.post SET text = 'by hand'")
        wrong = await watch.fingerprints()
        wrong.pop("dead_letter")
        for point in POINTS:
            ended = await place.run(*rebuild, env={VARIABLE: point})
            assert ended.code == -signal.SIGKILL, (point, ended.err)
            # Before the swap all is as it was; the swap is all or nothing.
            found = await watch.fingerprints()
            letters.append(found.pop("dead_letter"))
            assert found == (right if point.startswith("rebuild.swapped") else wrong), point
        assert await left_behind(database) != []
        status = await place.json("status")
        assert "unfinished rebuild" not in status["sentence"]  # It was swapped in.
        ended = await place.run(*rebuild, env={VARIABLE: "rebuild.loaded"})

        async def says_so() -> bool:
            sentence = (await place.json("status"))["sentence"]
            return "projector rebuild follow like post" in sentence

        # Whose server is still at its last statement counts as running.
        await until(says_so)
        done = await place.json(*rebuild)
        assert done["swapped"]
        assert await watch.fingerprints() == right | {"dead_letter": letters[0]}
        verdict = await place.json("verify")
        assert verdict["differences"] == []
    assert await left_behind(database) == []


async def test_dry_run_says_by_its_exit_code_whether_anything_differs(
    database: Database, place: Place
) -> None:
    assert (await place.run("rebuild", "--all", "--dry-run")).code == 0
    await execute(
        database, "DELETE FROM bsky.repost WHERE uri = (SELECT min(uri) FROM bsky.repost)"
    )
    ended = await place.run("rebuild", "repost", "--dry-run")
    assert ended.code == 1
    assert "without --dry-run they are put right" in ended.complaint
    assert "deleted by hand" in ended.text


async def test_roll_back_and_as_of_as_commands(database: Database, place: Place) -> None:
    assert (await place.run("rollback", "post")).code == 2
    assert (await place.run("rebuild")).code == 2
    assert (await place.run("rebuild", "nothing")).code == 2
    await place.ok("rebuild", "post", "--keep-old")
    done = await place.json("rollback", "post")
    assert done["swapped"]
    assert (done["rows_different"], done["counts_different"]) == (0, 0)
    found = await place.json("as-of", "3000", "--into", "earlier")
    assert found["offset"] == 3000
    async with Watch(database.url) as watch:
        count = "SELECT count(*) FROM {}.post"
        then, now = [await watch.count(count.format(s)) for s in ("earlier", "bsky")]
        assert 0 < then < now
    assert (await place.run("as-of", "3000", "--into", "earlier")).code == 2
