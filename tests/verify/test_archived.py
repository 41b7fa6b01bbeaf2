"""Damage of a log with an archive: what the file has is brought back by the command named."""

from __future__ import annotations

from pathlib import Path

import pytest

from projector import schema
from projector.database import Database
from tests.support.cli import Place
from tests.support.engine import DECLARATIONS, append, project
from tests.verify.world import HISTORY

PARTITION_EVENTS = 40
FIRST = "projector.event_log_000000000000001"
RESTORE = "projector archive --restore 1"


@pytest.fixture
async def archived(tmp_path: Path, database_url: str) -> Place:
    """The history with its first 40 events both live and in a file."""
    database = Database(database_url)
    connection = await database.connect("test")
    await schema.create(connection, DECLARATIONS, "bsky", partition_events=PARTITION_EVENTS)
    await connection.close()
    await append(database, HISTORY)
    await project(database)
    place = Place(
        tmp_path, "--database", database_url, "--archive-location", str(tmp_path / "archive"),
        "--recent-events", "0",
    )  # fmt: skip
    await place.ok("archive", "--keep-live")
    return place


def file_of(place: Place) -> Path:
    (file,) = (place.folder / "archive").rglob("*.parquet")
    return file


DAMAGE = {
    "partition dropped": (f"DROP TABLE {FIRST}", "partition-missing"),
    "events deleted": (f"DELETE FROM {FIRST} WHERE log_offset IN (7, 8, 40)", "event-missing"),
    "event altered": (f"UPDATE {FIRST} SET cid = 'x' WHERE log_offset = 3", "archive-differs"),
}


@pytest.mark.parametrize("damage", DAMAGE)
async def test_what_the_archive_has_is_restored(
    archived: Place, database: Database, damage: str
) -> None:
    statement, name = DAMAGE[damage]
    assert (await archived.json("verify", "--all"))["exact"] is True
    connection = await database.connect("test damage")
    await connection.execute(statement)
    await connection.close()
    found = (await archived.run("verify", "--all", "--json")).json
    named = {fault["name"]: fault["mend"] for fault in found["log"]}
    assert named[name] == RESTORE
    assert set(named.values()) == {RESTORE}
    await archived.ok(*RESTORE.split()[1:])
    assert (await archived.json("verify", "--all"))["exact"] is True


async def test_a_flipped_bit_of_a_file_is_found_and_mended(archived: Place) -> None:
    file = file_of(archived)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    found = (await archived.run("verify", "--log", "--json")).json
    ((name, mend),) = {(fault["name"], fault["mend"]) for fault in found["log"]}
    assert name == "archive-file-damaged"
    await archived.ok(*mend.split()[1:])
    assert (await archived.json("verify", "--log"))["log"] == []


async def test_an_archived_log_is_whole_without_its_partition(
    archived: Place, database: Database
) -> None:
    await archived.ok("archive", "--keep-events", "0")
    connection = await database.connect("test")
    assert await connection.fetchval(f"SELECT to_regclass('{FIRST}')") is None
    await connection.close()
    found = await archived.json("verify", "--all")
    assert found["exact"] is True
    assert found["events"] == len(HISTORY)
    file_of(archived).write_bytes(b"x")
    found = (await archived.run("verify", "--all", "--json")).json
    assert "archive-file-damaged" in {fault["name"] for fault in found["log"]}
    assert found["unproven"] is not None
