"""The command: its parts, what it prints, how it ends; and it runs beside live projectors."""

from __future__ import annotations

import asyncio
from itertools import islice
from pathlib import Path

import pytest

from events.event import Event
from events.generate import Generator
from projector.database import Database
from tests.support.cli import Place
from tests.support.engine import append, create, project
from tests.support.histories import POST
from tests.support.watch import Watch
from tests.verify.world import HISTORY, A, build, uri

KEYS = {
    "exact", "counters", "keys", "differences", "rows", "row_differences", "log", "findings",
    "events", "scratch_bytes", "unproven",
}  # fmt: skip
SPOIL = "UPDATE bsky.post SET text = 'x' WHERE uri = $1"


async def spoil(database: Database, at: str) -> None:
    connection = await database.connect("test spoil")
    assert await connection.execute(SPOIL, at) == "UPDATE 1"
    await connection.close()


@pytest.mark.both_servers
async def test_all_is_proven(place: Place, database: Database) -> None:
    await build(database)
    scratch = place.folder / "scratch"
    scratch.mkdir()
    found = await place.json("verify", "--all", "--scratch-folder", str(scratch))
    assert found.keys() == KEYS
    assert found["exact"] is True
    assert (found["counters"], found["differences"], found["log"]) == (7, [], [])
    assert {r["projection"]: r["keys"] for r in found["rows"]} == {
        "follow": 16, "like": 20, "post": 16, "repost": 20,
    }  # fmt: skip
    assert found["events"] == len(HISTORY)
    assert found["scratch_bytes"] > 0
    assert not list(scratch.iterdir())
    shown = (await place.ok("verify", "--all")).text
    assert "exact" in shown
    assert "72 rows of 4 accounts as the log has them" in shown


async def test_without_options_rows_are_not_read(place: Place, database: Database) -> None:
    await build(database)
    await spoil(database, uri(A, POST, 1))
    found = await place.json("verify")
    assert (found["exact"], found["rows"], found["events"]) == (True, [], 0)


@pytest.mark.parametrize("how", [("--rows",), ("--sample", "50", "--seed", "1")])
async def test_what_differs_is_named_in_one_line_with_its_command(
    place: Place, database: Database, how: tuple[str, ...]
) -> None:
    await build(database)
    await spoil(database, uri(A, POST, 1))
    told = await place.run("verify", *how)
    assert told.code == 1
    assert (
        "row-altered (post, 1 key): rows say something else than their events (text), such as "
        f"{uri(A, POST, 1)}. To mend it: projector heal {A}" in told.text.splitlines()
    )
    assert told.complaint.startswith("1 rows differ from the log; ")
    found = (await place.run("verify", *how, "--json")).json
    (difference,) = found["row_differences"]
    assert (difference["uri"], difference["log_offset"]) == (uri(A, POST, 1), 8)
    (finding,) = found["findings"]
    assert finding["mend"] == f"projector heal {A}"
    assert found["exact"] is False


async def test_a_sample_is_that_of_its_seed(place: Place, database: Database) -> None:
    await create(database)
    await append(database, generated(1000))
    await project(database)
    sizes = set()
    for seed in ("1", "1", "2"):
        found = await place.json("verify", "--sample", "10", "--seed", seed)
        assert {rows["accounts"] for rows in found["rows"]} == {10}
        sizes.add(tuple(rows["keys"] for rows in found["rows"]))
    assert len(sizes) == 2


async def test_a_moved_head_is_mended(place: Place, database: Database) -> None:
    await build(database)
    connection = await database.connect("test head")
    await connection.execute("UPDATE projector.log_head SET head = head + 5")
    await connection.close()
    told = await place.run("verify")
    assert told.code == 1
    assert "head-moved: the head is 105, and the last event is 100. To mend it: projector verify " \
        "--mend-head" in told.text.splitlines()  # fmt: skip
    assert "exact" in (await place.ok("verify", "--mend-head")).text


async def test_wrong_use_is_refused(place: Place, tmp_path: Path) -> None:
    assert (await place.run("verify", "--sample", "-1")).code == 2


def generated(count: int) -> list[Event]:
    return list(islice(Generator(seed=9, accounts=60), count))


async def test_under_live_ingest_nothing_seems_wrong(place: Place, database: Database) -> None:
    events = iter(Generator(seed=9, accounts=60))
    await create(database)
    await append(database, list(islice(events, 1000)))
    async with place.start("run") as daemon, Watch(database.url) as watch:
        await watch.until(watch.tables_at, 1000)
        as_of = []
        for _ in range(2):
            checking = asyncio.create_task(place.run("verify", "--rows", "--json"))
            while not checking.done():
                await append(database, list(islice(events, 50)))
            found = (await checking).json
            assert found["exact"] is True, found
            as_of.append(max(rows["as_of"] for rows in found["rows"]))
        assert 1000 <= as_of[0] < as_of[1]
        daemon.terminate()
        assert await daemon.code() == 0
