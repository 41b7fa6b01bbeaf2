"""`projector archive`: what it lets go, what it prints, what it refuses."""

from __future__ import annotations

import pytest

from projector.archiving import Policy, due
from projector.database import Database
from projector.lease import LeaseKeeper
from tests.archive.conftest import Log, generated
from tests.support.cli import Place

AGE = "UPDATE projector.event_log SET appended_at = appended_at - make_interval(days => $1)"


@pytest.fixture
def place(log: Log, database_url: str) -> Place:
    return Place(log.folder.parent, "--database", database_url, "--recent-events", "0")


async def test_what_a_policy_lets_go(log: Log) -> None:
    await log.append(await generated(1050))
    await log.connection.execute(f"{AGE} WHERE log_offset <= 600", 10)

    async def through(**policy: object) -> tuple[int, str | None]:
        found = await due(log.connection, Policy(**policy))
        return max((p.end_offset - 1 for p in found.partitions), default=0), found.limited_by

    assert await through() == (1000, None)
    assert await through(keep_events=50) == (1000, None)
    assert await through(keep_events=51) == (800, "--keep-events")
    assert await through(keep_events=2000) == (0, "--keep-events")
    assert await through(older_than_days=9) == (600, "--older-than-days")
    assert await through(older_than_days=11) == (0, "--older-than-days")
    tail = "the last 300 events, which ingest reads"
    assert await through(recent_events=150) == (600, tail)
    add = "INSERT INTO projector.checkpoint (projection, version, log_offset) VALUES ($1, 1, $2)"
    await log.connection.executemany(add, [("slow", 399), ("quick", 1050)])
    assert await through(projections=["quick"]) == (1000, None)
    slow = (200, "slow, which has applied up to 399")
    assert await through(projections=["quick", "slow"]) == slow
    assert await through(projections=["quick", "slow"], recent_events=150) == slow


async def test_the_command(log: Log, place: Place) -> None:
    await log.append(await generated(1050))
    await log.connection.execute("UPDATE projector.checkpoint SET log_offset = 1050")
    to = ("--to", str(log.folder))
    planned = await place.json("archive", *to, "--dry-run", "--keep-events", "400")
    assert [m["action"] for m in planned["done"]] == ["would move"] * 3
    assert (planned["held_back"], planned["files"], log.files()) == ("--keep-events", 0, [])

    done = await place.json("archive", *to, "--keep-events", "400")
    assert [(m["first_offset"], m["last_offset"], m["action"]) for m in done["done"]] == [
        (1, 200, "moved"), (201, 400, "moved"), (401, 600, "moved"),
    ]  # fmt: skip
    assert [m["location"] for m in done["done"]] == [str(log.folder / n) for n in log.files()]
    assert [name[:39] for name in log.files()] == [
        "events-000000000000001-000000000000200-",
        "events-000000000000201-000000000000400-",
        "events-000000000000401-000000000000600-",
    ]
    files = await place.json("archive", "--list")
    assert [f["bytes"] for f in files] == [
        (log.folder / name).stat().st_size for name in log.files()
    ]
    assert all(f["bytes_per_event"] == round(f["bytes"] / 200, 1) for f in files)
    text = (await place.ok("archive", "--list")).text
    assert "3 archive files" in text and log.files()[0] in text
    text = (await place.ok("archive", env={"PROJECTOR_ARCHIVE_LOCATION": str(log.folder)})).text
    assert "801" in text and "moved" in text
    assert "Nothing to archive" in (await place.ok("archive", *to)).text
    assert (await place.json("archive", "--restore", "500"))["done"][0]["first_offset"] == 401
    assert await log.read() == log.events


async def test_what_is_refused(log: Log, place: Place, database: Database) -> None:
    ended = await place.run("archive")
    assert (ended.code, ended.complaint[:24]) == (2, "no place for the archive")
    ended = await place.run("archive", "--to", "s3://key:secret@bucket/folder")
    assert ended.code == 2 and "holds a secret" in ended.complaint
    assert "secret@" not in ended.complaint
    ended = await place.run("archive", "--restore", "5")
    assert ended.code == 2 and "no archive file holds offset 5" in ended.complaint
    ended = await place.run("archive", "--to", "x", "--keep-events=-1")
    assert ended.code == 2
    keeper = LeaseKeeper(database, lease_seconds=60)
    assert await keeper.take("archive")
    ended = await place.run("archive", "--to", str(log.folder), "--lease-seconds", "0.3")
    assert ended.code == 6 and keeper.owner in ended.complaint
    await keeper.close()


async def test_without_pyarrow(log: Log, place: Place) -> None:
    await log.append(await generated(450))
    await log.archive()
    # The program's folder comes first on its path: this is found instead.
    (log.folder.parent / "pyarrow.py").write_text("raise ImportError")
    ended = await place.run("archive", "--to", str(log.folder))
    assert ended.code == 2
    assert "pip install 'atproto-projector[archive]'" in ended.complaint
    assert len(await place.json("archive", "--list")) == 2
    assert (await place.json("status"))["head"] == 450
