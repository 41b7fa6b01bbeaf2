"""The same on an embedded server in a folder: started by who comes first, stopped by the last."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from projector.embedded_postgres import EmbeddedPostgres
from tests.support.cli import Place
from tests.support.redis_server import require_redis
from tests.support.watch import Watch

EVENTS = 4000
SOURCE = f"generate:events={EVENTS},seed=21,accounts=300"
HELD = 6


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new embedded server, stopped, to be copied: making one takes its time."""
    folder = tmp_path_factory.mktemp("made") / "data"
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    return folder


def give_to(folder: Path, user: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, -1)


@pytest.fixture
def data(made: Path) -> Iterator[Path]:
    """A data folder of the test's own, with a short path, as sockets need it."""
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        shutil.copytree(made, data)
        give_to(data / "postgres", (made / "postgres").stat().st_uid)
        yield data
        EmbeddedPostgres(data).stop("immediate")


@pytest.fixture
def place(tmp_path: Path, data: Path) -> Place:
    """Where commands run on the embedded server."""
    return Place(tmp_path, PROJECTOR_DATA_DIR=str(data))


async def test_the_first_command_makes_the_server_and_the_last_stops_it(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "data"
        place = Place(tmp_path, "--data-dir", str(data))
        assert (await place.run("status")).code == 2
        assert not data.exists()
        assert "is ready" in (await place.ok("init")).text
        server = EmbeddedPostgres(data)
        assert not server.is_running()
        assert (await place.json("init"))["done"] == []
        assert (await place.json("status"))["head"] == 0
        assert not server.is_running()


async def test_commands_share_a_server(place: Place, data: Path) -> None:
    await place.ok("init")
    server = EmbeddedPostgres(data)
    async with place.start("run") as running, Watch(server.url()) as watch:
        done = await place.json("ingest", SOURCE)
        assert done["events"] == EVENTS
        await watch.until(watch.tables_at, EVENTS)
        assert server.is_running()
        assert (await place.json("verify"))["differences"] == []
        running.terminate()
        assert await running.code() == 0, running.said
    assert not server.is_running()
    status = await place.json("status")
    assert status["sentence"].startswith("All 6 projections are in step")
    assert await place.json("run", "like", "--until-caught-up") == {"like": EVENTS}
    assert await place.json("dead-letters", "list") == []
    assert not server.is_running()


@pytest.mark.parametrize("buffer", ["straight", "redis"])
async def test_up_does_everything_and_continues(place: Place, data: Path, buffer: str) -> None:
    words = ["up", SOURCE, "--until-caught-up"]
    if buffer == "redis":
        require_redis()
        words.append("--redis-buffer")
    told = await place.ok(*words)
    assert f"All 6 projections are in step with the log: {EVENTS:,} events" in told.text
    assert not EmbeddedPostgres(data).is_running()
    again = await place.ok(*words, "--json")
    assert again.out == b""
    assert (await place.json("verify"))["differences"] == []
    status = await place.json("status")
    assert status["head"] == EVENTS
    assert not any(at["lag_events"] or at["pending_rows"] for at in status["projections"])


async def test_a_folder_has_one_up(place: Place, data: Path) -> None:
    async with (
        place.start("up", "generate:seed=2,rate=500") as first,
        Watch(EmbeddedPostgres(data).url()) as watch,
    ):
        await first.until_said("→")
        await watch.until(watch.head, 1)
        second = await place.run("up", "generate:seed=3")
        assert second.code == HELD
        assert second.err == f"projector: {second.complaint}\n"
        assert str(data) in second.complaint
        assert "--data-dir" in second.complaint
        first.terminate()
        assert await first.code() == 0, first.said


async def test_up_that_was_killed_continues_where_it_was(place: Place, data: Path) -> None:
    source = f"{SOURCE},rate=4000"
    server = EmbeddedPostgres(data)
    async with place.start("up", source) as first, Watch(server.url()) as watch:
        await first.until_said("→")
        await watch.until(watch.progress, 2000)
    assert server.is_running()
    await place.ok("up", source, "--until-caught-up")
    status = await place.json("status")
    assert status["head"] == EVENTS
    assert (await place.json("verify"))["differences"] == []
    assert not server.is_running()


async def test_the_demo_proves_its_counts(place: Place) -> None:
    told = await place.ok("demo", "--events", "3000", "--seed", "4")
    assert "exact" in told.text
    assert "status --data-dir" in told.text
    proof = await place.json("demo", "--events", "2000", "--seed", "5")
    assert proof.keys() == {"events", "seconds", "counters", "keys"}
    assert proof["events"] == 2000
    assert (await place.json("status"))["head"] == 5000
