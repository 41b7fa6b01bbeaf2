"""The archiver is killed at every step, and the end is as if nothing had happened."""

from __future__ import annotations

import signal

import pytest

from projector.archive_files import check_archive, listed
from tests.archive.conftest import PARTITION, Log, generated
from tests.support.cli import Place

ARCHIVE = ("index.making", "index.made", "archive.writing", "archive.written", "archive.compared",
           "archive.named", "archive.known", "archive.detached", "archive.dropping",
           "archive.dropped")  # fmt: skip
RESTORE = ("restore.loading", "restore.loaded", "restore.attaching", "restore.attached")
INDEXES = """
SELECT c.relname FROM pg_index AS x JOIN pg_class AS c ON c.oid = x.indexrelid
WHERE c.relname LIKE '%\\_did\\_idx' AND x.indisvalid ORDER BY 1
"""


def command(log: Log, database_url: str) -> Place:
    return Place(
        log.folder.parent, "--database", database_url, "--to", str(log.folder),
        "--recent-events", "0",
    )  # fmt: skip


async def killed(place: Place, at: str, *words: str) -> None:
    ended = await place.run("archive", *words, env={"PROJECTOR_CRASH_AT": at})
    assert ended.code == -signal.SIGKILL, (at, ended.err)


@pytest.mark.parametrize("points", [ARCHIVE[:5], ARCHIVE[5:]], ids=["before", "after"])
async def test_archiving(log: Log, database_url: str, points: tuple[str, ...]) -> None:
    place = command(log, database_url)
    await log.append(await generated(PARTITION * len(points) + 50))
    for done, point in enumerate(points, 1):
        # One more partition may go in each round.
        keep = len(log.rows) - done * PARTITION
        await killed(place, point, "--keep-events", str(keep))
        assert await log.read() == log.events, point
        await log.archive(keep_events=keep)
        assert await log.read() == log.events, point
        files = await listed(log.connection)
        assert [f.first_offset for f in files] == [1 + n * PARTITION for n in range(done)], point
        assert log.files() == [f.location.rpartition("/")[2] for f in files], point
        assert not any(f.live for f in files), point
        assert await check_archive(log.connection) == [], point
    tables = "SELECT count(*) FROM pg_class WHERE relname ~ '^event_log_[0-9]+$' AND relkind = 'r'"
    known = "SELECT count(*) FROM projector.log_partition"
    assert await log.connection.fetchval(tables) == await log.connection.fetchval(known)


async def test_restoring(log: Log, database_url: str) -> None:
    place = command(log, database_url)
    await log.append(await generated(PARTITION * len(RESTORE) + 50))
    await log.archive()
    for done, point in enumerate(RESTORE):
        offset = str(1 + done * PARTITION)
        await killed(place, point, "--restore", offset)
        assert await log.read() == log.events, point
        await log.archiver().restore(int(offset))
        assert await log.read() == log.events, point
        assert len(await log.partitions()) == done + 2, point
    assert await log.live_rows() == log.rows
    names = [row[0] for row in await log.connection.fetch(INDEXES)]
    assert names == [f"event_log_{1 + n * PARTITION:015d}_did_idx" for n in range(len(RESTORE))]
    assert [row[0] for row in await log.connection.fetch(
        "SELECT relname FROM pg_class WHERE relname LIKE '%loaded%'")] == []  # fmt: skip


async def test_an_index_that_was_broken_off_is_made_again(log: Log, database_url: str) -> None:
    await log.append(await generated(450))
    name = "event_log_000000000000001_did_idx"
    await log.connection.execute(
        f"CREATE INDEX {name} ON projector.event_log_000000000000001 (did)"
    )
    await log.connection.execute(
        "UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::text::regclass",
        f"projector.{name}",
    )
    await command(log, database_url).ok("archive", "--keep-live")
    indexed = await log.connection.fetch(
        "SELECT indexdef FROM pg_indexes WHERE indexname = $1", name
    )
    assert "(did, log_offset)" in indexed[0][0]
    assert len(await log.connection.fetch(INDEXES)) == 2
