"""The archive's files: which there are, whether each holds its rows, and what is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import asyncpg
import msgspec

from events import archive
from events.archive import COLUMNS, Archived, ArchiveFile
from events.archive_place import ArchiveDamaged
from events.log import LogCorrupt, Partition, read_head, read_partitions
from events.rows import times_in_microseconds
from projector.logcheck import LogFault
from projector.partitions import STATES

Row = tuple[Any, ...]
RECORD: Final = COLUMNS.index("record")
FETCH_EVENTS: Final = 2_000

FILES: Final = """
SELECT first_offset, end_offset, location, bytes, sha256, live_bytes,
    to_char(archived_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS archived_at,
    EXISTS (SELECT FROM projector.log_partition AS p WHERE p.first_offset = a.first_offset) AS live
FROM projector.log_archive AS a ORDER BY first_offset
"""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """An archive file as it is listed; `live`: the partition is there as well."""

    first_offset: int
    end_offset: int
    location: str
    bytes: int
    sha256: str
    live_bytes: int
    archived_at: str
    live: bool

    @property
    def events(self) -> int:
        """How many events it holds."""
        return self.end_offset - self.first_offset

    @property
    def archived(self) -> Archived:
        """The same, as readers take it."""
        return Archived(self.first_offset, self.end_offset, self.location, self.bytes, self.sha256)


async def groups_of(
    connection: asyncpg.Connection, partition: Partition
) -> AsyncIterator[list[Row]]:
    """The rows of a partition, in what makes a row group each. Raises `LogCorrupt` for a hole."""
    group: list[Row] = []
    size, first = 0, partition.first_offset
    while first < partition.end_offset:
        end = min(first + FETCH_EVENTS, partition.end_offset)
        rows = await rows_between(connection, partition, first, end)
        group += rows
        size += sum(len(row[RECORD] or b"") for row in rows)
        if len(group) + FETCH_EVENTS > archive.EVENTS_MAX or size > archive.RECORD_BYTES_MAX:
            yield group
            group, size = [], 0
        first = end
    if group:
        yield group


async def rows_between(
    connection: asyncpg.Connection, partition: Partition, first: int, end: int
) -> list[Row]:
    """Rows of a partition, of the offsets `first` up to, not with, `end`: every one."""
    query = (
        f"SELECT {', '.join(COLUMNS)} FROM projector.{partition.table_name}"
        " WHERE log_offset >= $1 AND log_offset < $2 ORDER BY log_offset"
    )
    rows = await connection.fetch(query, first, end)
    for offset, row in enumerate(rows, first):
        if row["log_offset"] != offset:
            raise LogCorrupt(f"{partition.table_name} has no row of offset {offset}")
    if len(rows) < end - first:
        raise LogCorrupt(f"{partition.table_name} has no row of offset {first + len(rows)}")
    return [tuple(row) for row in rows]


async def first_difference(
    connection: asyncpg.Connection, partition: Partition, file: Archived
) -> str | None:
    """Where a file and a partition part, every column of every row compared; None: nowhere.

    Raises `ArchiveDamaged` where the file is not what was written.
    """
    await times_in_microseconds(connection)
    opened = await asyncio.to_thread(ArchiveFile, file, check=True)
    try:
        for group, start in enumerate(opened.starts):
            stored = await asyncio.to_thread(opened.table, group)
            try:
                rows = await rows_between(connection, partition, start, opened.end(group))
            except LogCorrupt as hole:
                return str(hole)
            if not await asyncio.to_thread(archive.is_same, stored, rows):
                return f"offsets {start} to {opened.end(group) - 1}"
    finally:
        await asyncio.to_thread(opened.close)
    return None


async def listed(connection: asyncpg.Connection) -> list[File]:
    """The files of the archive in the order of their offsets."""
    return [msgspec.convert(dict(row), File) for row in await connection.fetch(FILES)]


async def check_archive(connection: asyncpg.Connection) -> list[LogFault]:
    """Compares the archive with itself and with the live log: every byte, every row.

    Faults: `archive-file-missing`, `archive-file-damaged`, `archive-differs` (a partition has other
    rows than its file), `partition-lost`, `log-gap` (offsets that are in neither).
    """
    await times_in_microseconds(connection)
    head = await read_head(connection)
    files = await listed(connection)
    live = {p.first_offset: p for p in await read_partitions(connection)}
    faults = []
    for file in files:
        faults += await _check_file(connection, file, live.get(file.first_offset))
    known = {file.first_offset for file in files}
    for first, partition in live.items():
        if first <= head and first not in known and not await _is_there(connection, partition):
            faults.append(_lost(partition, "restore the database from a backup"))
    ranges = sorted({(f.first_offset, f.end_offset) for f in files}
                    | {(p.first_offset, p.end_offset) for p in live.values()})  # fmt: skip
    return faults + _gaps(ranges, head)


async def _is_there(connection: asyncpg.Connection, partition: Partition) -> bool:
    state = await connection.fetchrow(STATES, partition.first_offset)
    return state is not None and state["there"] and state["attached"]


async def _check_file(
    connection: asyncpg.Connection, file: File, partition: Partition | None
) -> list[LogFault]:
    restore = f"projector archive --restore {file.first_offset}"
    is_live = partition is not None and await _is_there(connection, partition)
    again = "projector archive --keep-live" if is_live else "put the file back from a copy of it"
    faults = []
    try:
        if partition is not None and is_live:
            found = await first_difference(connection, partition, file.archived)
            if found is not None:
                text = f"{partition.table_name} and {file.location} differ at {found}"
                faults.append(LogFault(name="archive-differs", text=text, mend=restore))
        else:
            await asyncio.to_thread(lambda: ArchiveFile(file.archived, check=True).close())
    except ArchiveDamaged as damage:
        slug = "archive-file-missing" if damage.is_missing else "archive-file-damaged"
        faults.append(LogFault(name=slug, text=str(damage), mend=again))
    if partition is not None and not is_live:
        faults.append(_lost(partition, restore))
    return faults


def _lost(partition: Partition, mend: str) -> LogFault:
    text = f"the log's table projector.{partition.table_name} is gone, or no part of the log"
    return LogFault(name="partition-lost", text=text, mend=mend)


def _gaps(ranges: list[tuple[int, int]], head: int) -> list[LogFault]:
    faults = []
    reached = 1
    for first, end in [*ranges, (head + 1, head + 1)]:
        if first > reached and reached <= head:
            text = f"offsets {reached} to {min(first - 1, head)} are in no partition and no file"
            mend = "restore the database from a backup"
            faults.append(LogFault(name="log-gap", text=text, mend=mend))
        reached = max(reached, end)
    return faults
