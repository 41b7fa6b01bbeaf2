"""Damage to the archive is found, named, and mended by what the message says."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow.parquet
import pytest

from events import archive
from events.archive_place import ArchiveDamaged
from events.history import WholeLog
from events.log import LogCorrupt
from projector.archive_files import check_archive
from projector.errors import Corruption
from tests.archive.conftest import Log, generated
from tests.support.cli import Place


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


async def faults(log: Log) -> list[tuple[str, str]]:
    return [(fault.name, fault.mend) for fault in await check_archive(log.connection)]


def first_file(log: Log) -> Path:
    return log.folder / log.files()[0]


async def test_a_flipped_bit_anywhere_is_found(log: Log) -> None:
    await log.append(await generated(450))
    await log.archive()
    path = first_file(log)
    good = path.read_bytes()
    rng = random.Random(1)
    for bit in [0, len(good) * 8 - 1, *(rng.randrange(len(good) * 8) for _ in range(20))]:
        flip(path, bit)
        archive.forget_checked()
        assert [name for name, _ in await faults(log)] == ["archive-file-damaged"]
        with pytest.raises(ArchiveDamaged, match=path.name):
            await log.read()
        path.write_bytes(good)
    assert await faults(log) == []
    assert await log.read() == log.events


async def test_a_page_that_rots_while_the_file_is_open_is_found(log: Log) -> None:
    await log.append(await generated(250))
    await log.archive()
    await log.read()
    path = first_file(log)
    # The process has checked the file: now it is the page's own checksum that tells.
    column = pyarrow.parquet.ParquetFile(path).metadata.row_group(0).column(9)
    assert column.path_in_schema == "record"
    flip(path, (column.data_page_offset + column.total_compressed_size // 2) * 8)
    with pytest.raises(ArchiveDamaged, match="is damaged"):
        await log.read()


async def test_a_file_that_is_lost(log: Log, database_url: str) -> None:
    await log.append(await generated(650))
    await log.archive(keep_events=400)
    await log.archive(keep_live=True)
    gone, copied = (log.folder / name for name in log.files()[:2])
    content = gone.read_bytes()
    gone.unlink()
    copied.unlink()
    archive.forget_checked()
    assert await faults(log) == [
        ("archive-file-missing", "put the file back from a copy of it"),
        ("archive-file-missing", "projector archive --keep-live"),
    ]
    whole = WholeLog()
    assert await whole.read(log.connection, 200, 400) == log.events[200:400]
    with pytest.raises(ArchiveDamaged, match=f"{gone.name} is missing"):
        await whole.read(log.connection, 100, 110)
    gone.write_bytes(content)
    place = Place(log.folder.parent, "--database", database_url, "--recent-events", "0")
    ended = await place.run("archive", "--to", str(log.folder), "--keep-live")
    assert ended.code == 0, ended.err
    assert f"{copied.name} is missing; it is written again" in ended.text.replace("\n", "")
    assert await faults(log) == []
    assert [m.action for m in await log.archive()] == ["moved", "moved"]
    assert await log.read() == log.events


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM projector.event_log WHERE log_offset = 123",
        "UPDATE projector.event_log SET record = '{}' WHERE log_offset = 200",
        "UPDATE projector.event_log SET source_cursor = 'x' WHERE log_offset = 1",
    ],
)
async def test_a_partition_that_differs_from_its_file(log: Log, damage: str) -> None:
    await log.append(await generated(450))
    await log.archive(keep_live=True)
    names = log.files()
    await log.connection.execute(damage)
    assert await faults(log) == [("archive-differs", "projector archive --restore 1")]
    # Nobody knows which is right: neither is replaced by itself.
    with pytest.raises(Corruption, match=r"differ at .*--restore 1 takes the file's rows"):
        await log.archive()
    await log.archiver().restore(1)
    assert await faults(log) == []
    assert await log.live_rows() == log.rows
    assert log.files() == names


async def test_a_partition_that_is_lost(log: Log) -> None:
    await log.append(await generated(650))
    await log.archive(keep_live=True, keep_events=400)
    await log.connection.execute("DROP TABLE projector.event_log_000000000000001")
    assert await faults(log) == [("partition-lost", "projector archive --restore 1")]
    assert await log.read() == log.events
    await log.archiver().restore(1)
    assert await faults(log) == []
    assert await log.live_rows() == log.rows

    await log.connection.execute("DROP TABLE projector.event_log_000000000000201")
    backup = "restore the database from a backup"
    assert await faults(log) == [("partition-lost", backup)]
    await log.connection.execute("DELETE FROM projector.log_partition WHERE first_offset = 201")
    assert await faults(log) == [("log-gap", backup)]


async def test_a_partition_with_a_hole_is_not_archived(log: Log) -> None:
    await log.append(await generated(450))
    await log.connection.execute("DELETE FROM projector.event_log WHERE log_offset = 77")
    with pytest.raises(LogCorrupt, match="no row of offset 77"):
        await log.archive()
    assert len(await log.partitions()) == 3
    assert await faults(log) == []
