"""The archiver: moves sealed partitions of the log to Parquet files, and back."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import msgspec

from events import archive, archive_place
from events.archive import COLUMNS, Archived, ArchiveFile, ArchiveWriter
from events.archive_place import ArchiveDamaged
from events.crashpoints import crash_point
from events.log import LogCorrupt, Partition, read_head, read_partitions
from events.rows import times_in_microseconds
from projector import partitions
from projector.archive_files import check_archive, first_difference, groups_of, listed
from projector.database import Database, close_quietly, is_transient, one_line
from projector.errors import Corruption, UsageError
from projector.lease import LeaseKeeper
from projector.partitions import SnapshotsHeld, index_sealed

__all__ = [
    "Archiver", "Housekeeper", "Moved", "Policy", "check_archive", "due", "index_sealed", "listed",
]  # fmt: skip

log = logging.getLogger(__name__)

NAME: Final = "events-{first:015d}-{last:015d}-{sha256:.12}.parquet"
UNFINISHED: Final = "unfinished-{log}-"
"""The beginning of the names of files that this log's archivers are writing."""

LEASE: Final = "housekeeping"

IDENTITY: Final = "SELECT id::text FROM projector.log_identity"
FILE_AT: Final = """
SELECT first_offset, end_offset, location, bytes, sha256 FROM projector.log_archive
WHERE first_offset <= $1 AND end_offset > $1
"""
REGISTER: Final = """
INSERT INTO projector.log_archive
    (first_offset, end_offset, location, bytes, sha256, live_bytes)
VALUES ($1, $2, $3, $4, $5, pg_total_relation_size($6::text::regclass))
ON CONFLICT (first_offset) DO UPDATE SET location = excluded.location, bytes = excluded.bytes,
    sha256 = excluded.sha256, archived_at = now()
"""
APPLIED: Final = """
SELECT projection, log_offset FROM projector.checkpoint
WHERE projection = ANY($1) ORDER BY log_offset, projection LIMIT 1
"""
# The last event of a partition is the newest: appended_at rises with the offset.
YOUNG: Final = "now() - make_interval(secs => $1 * 86400.0)"


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What a run did, or would do, with one partition."""

    first_offset: int
    last_offset: int
    action: str
    location: str | None = None
    bytes: int | None = None
    live_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """Which partitions stay live.

    `keep_events` and `older_than_days` are the operator's wish; `recent_events` is what ingest
    reads of the log's tail when it starts, and `projections` are those that must have applied what
    goes. With `keep_live` a partition stays, whatever its file.
    """

    keep_events: int = 0
    older_than_days: float = 0
    recent_events: int = 0
    projections: Sequence[str] = ()
    keep_live: bool = False


@dataclass(frozen=True, slots=True)
class Due:
    """Partitions to be moved, and why no more of them."""

    partitions: list[Partition]
    limited_by: str | None


async def due(connection: asyncpg.Connection, policy: Policy) -> Due:
    """The partitions that a policy lets go, the oldest first."""
    head = await read_head(connection)
    sealed = [p for p in await read_partitions(connection) if p.end_offset <= head + 1]
    limits = [(head - policy.keep_events, "--keep-events"), (head, "")]
    recent = head - 2 * policy.recent_events
    limits.append((recent, f"the last {2 * policy.recent_events:,} events, which ingest reads"))
    applied = await connection.fetchrow(APPLIED, list(policy.projections))
    if applied is not None:
        limits.append((applied[1], f"{applied[0]}, which has applied up to {applied[1]:,}"))
    through, reason = min(limits)
    wanted = [p for p in sealed if p.end_offset <= through + 1]
    aged = [p for p in wanted if await _is_old(connection, p, policy.older_than_days)]
    limited = reason or None if len(wanted) < len(sealed) else None
    if len(aged) < len(wanted):
        limited = "--older-than-days"
    return Due(aged, limited)


async def _is_old(connection: asyncpg.Connection, partition: Partition, days: float) -> bool:
    if not days:
        return True
    # A table that is gone is no reason to wait: what is done with it will say so.
    query = (
        f"SELECT appended_at < {YOUNG} FROM projector.{partition.table_name} WHERE log_offset = $2"
    )
    return await connection.fetchval(query, float(days), partition.end_offset - 1) is not False


class Archiver:
    """Moves partitions over one connection; its caller holds the lease `archive`.

    Killed anywhere, the next run goes on: a file without a name is written again, a file that is
    not yet known is found again by its content, a partition that was to go goes.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        folder: str,
        *,
        say: Callable[[str], None] = log.info,
    ) -> None:
        self.connection = connection
        self.folder = folder
        self.say = say
        # Should two believe that they hold the lease, each writes files of its own.
        self.token = secrets.token_hex(4)

    async def run(self, policy: Policy, *, dry_run: bool = False) -> tuple[list[Moved], str | None]:
        """Archives what the policy lets go; returns what was done and what held it back."""
        await times_in_microseconds(self.connection)
        if not dry_run:
            await self.clean()
        found = await due(self.connection, policy)
        files = {f.first_offset: f.archived for f in await listed(self.connection)}
        done: list[Moved] = []
        for partition in found.partitions:
            file = files.get(partition.first_offset)
            if policy.keep_live and file is not None and await self.is_whole(file):
                continue
            if dry_run:
                done.append(_moved(partition, "would copy" if policy.keep_live else "would move"))
                continue
            try:
                done.append(await self.move(partition, file, keep_live=policy.keep_live))
            except SnapshotsHeld as held:
                return done, f"{held}; the partition is dropped by the next run"
        return done, found.limited_by

    async def clean(self) -> None:
        """Deletes what killed runs of this log left unfinished."""
        await asyncio.to_thread(
            archive_place.delete_prefixed, self.folder, await self._unfinished()
        )

    async def unfinished(self, first_offset: int) -> str:
        """Where this archiver writes the file of a partition, until the file has its name."""
        name = f"{await self._unfinished()}{self.token}-{first_offset:015d}.parquet"
        return archive_place.joined(self.folder, name)

    async def _unfinished(self) -> str:
        return UNFINISHED.format(log=await self.connection.fetchval(IDENTITY))

    async def move(self, partition: Partition, file: Archived | None, *, keep_live: bool) -> Moved:
        """Archives a partition, unless it has a file; then drops it, unless it is to stay."""
        state = await self.connection.fetchrow(partitions.STATES, partition.first_offset)
        if state is None or not state["there"]:
            raise Corruption(
                f"the log's table projector.{partition.table_name} is gone; "
                f"{_mend(partition, file)}"
            )
        if file is None or not await self.is_good(partition, file):
            file = await self.copy(partition)
        if not keep_live:
            await partitions.remove(self.connection, partition)
        return _moved(partition, "copied" if keep_live else "moved", file)

    async def copy(self, partition: Partition) -> Archived:
        """Writes a partition's file, compares it, gives it its name and makes it known."""
        first = partition.first_offset
        unfinished = await self.unfinished(first)
        # Killed before the file has its name: the next run deletes it.
        crash_point("archive.writing")
        await self._write(partition, unfinished)
        crash_point("archive.written")
        size, sha256 = await asyncio.to_thread(archive_place.measured, unfinished)
        written = Archived(first, partition.end_offset, unfinished, size, sha256)
        await self._compare(partition, written)
        crash_point("archive.compared")
        name = NAME.format(first=first, last=partition.end_offset - 1, sha256=sha256)
        location = archive_place.joined(self.folder, name)
        await asyncio.to_thread(archive_place.move, unfinished, location)
        # Killed before it is known: the same rows make the same file, in the same place.
        crash_point("archive.named")
        await self.connection.execute(
            REGISTER, first, partition.end_offset, location, size, sha256,
            f"projector.{partition.table_name}",
        )  # fmt: skip
        # From here on both are there, and readers take either.
        crash_point("archive.known")
        return Archived(first, partition.end_offset, location, size, sha256)

    async def _write(self, partition: Partition, location: str) -> None:
        writer = await asyncio.to_thread(ArchiveWriter, location)
        try:
            async for rows in groups_of(self.connection, partition):
                await asyncio.to_thread(writer.add, rows)
            await asyncio.to_thread(writer.finish)
        finally:
            await asyncio.to_thread(writer.abandon)

    async def _compare(self, partition: Partition, file: Archived) -> None:
        found = await first_difference(self.connection, partition, file)
        if found is not None:
            raise LogCorrupt(f"{file.location} differs from {partition.table_name} at {found}")

    async def is_whole(self, file: Archived) -> bool:
        """Whether a file is there, and what was written."""
        try:
            await asyncio.to_thread(archive.check_bytes, file)
        except ArchiveDamaged as damage:
            self.say(f"{damage}; it is written again")
            return False
        return True

    async def is_good(self, partition: Partition, file: Archived) -> bool:
        """Whether a file is what was written, and holds the partition's rows.

        Raises `Corruption` where it is, and does not: then one of them was changed, and nobody
        knows but the operator.
        """
        if not await self.is_whole(file):
            return False
        found = await first_difference(self.connection, partition, file)
        if found is not None:
            raise Corruption(
                f"{partition.table_name} and its archive file {file.location} differ at {found}; "
                f"{_mend(partition, file)}"
            )
        return True

    async def restore(self, offset: int) -> Moved:
        """Makes the archive file that holds an offset a partition again, exactly.

        A partition that is there and has the same rows stays as it is; one that differs, or whose
        table is gone, is replaced. Raises `UsageError` where no file holds the offset.
        """
        row = await self.connection.fetchrow(FILE_AT, offset)
        if row is None:
            raise UsageError(f"no archive file holds offset {offset}; projector archive --list")
        await times_in_microseconds(self.connection)
        file = Archived(*row)
        partition = Partition(
            f"event_log_{file.first_offset:015d}", file.first_offset, file.end_offset
        )
        state = await self.connection.fetchrow(partitions.STATES, file.first_offset)
        is_live = state is not None and state["attached"] and not state["detaching"]
        if is_live and await first_difference(self.connection, partition, file) is None:
            await index_sealed(self.connection)
            return _moved(partition, "was there", file)
        loaded = await self._load(partition, file)
        crash_point("restore.loaded")
        await partitions.put_back(self.connection, partition, loaded)
        crash_point("restore.attached")
        await index_sealed(self.connection)
        return _moved(partition, "restored", file)

    async def _load(self, partition: Partition, file: Archived) -> str:
        """Loads a file into a table of its own; killed meanwhile, the next attempt drops it."""
        name = f"{partition.table_name}_loaded"
        first, end = partition.first_offset, partition.end_offset
        await self.connection.execute(f"DROP TABLE IF EXISTS projector.{name}")
        await self.connection.execute(
            f"CREATE TABLE projector.{name} (LIKE projector.event_log INCLUDING DEFAULTS,"
            f" CONSTRAINT {name}_pkey PRIMARY KEY (log_offset),"
            f" CONSTRAINT {name}_range CHECK (log_offset >= {first} AND log_offset < {end}))"
        )
        # Killed before it is attached, it is no part of the log, and the next attempt drops it.
        crash_point("restore.loading")
        opened = await asyncio.to_thread(ArchiveFile, file)
        for group in range(len(opened.starts)):
            rows = await asyncio.to_thread(rows_of, opened, group)
            await self.connection.copy_records_to_table(
                name, schema_name="projector", columns=COLUMNS, records=rows
            )
        await asyncio.to_thread(opened.close)
        loaded = Partition(name, first, end)
        await self._compare(loaded, file)
        return name


def rows_of(file: ArchiveFile, group: int) -> list[tuple[Any, ...]]:
    """The rows of a row group, as event_log takes them."""
    return list(zip(*archive.values_of(file.table(group), COLUMNS), strict=True))


def _mend(partition: Partition, file: Archived | None) -> str:
    if file is None:
        return "restore the database from a backup"
    return f"projector archive --restore {partition.first_offset} takes the file's rows"


def _moved(partition: Partition, action: str, file: Archived | None = None) -> Moved:
    return Moved(
        first_offset=partition.first_offset,
        last_offset=partition.end_offset - 1,
        action=action,
        location=file.location if file else None,
        bytes=file.bytes if file else None,
    )


class Housekeeper:
    """Indexes sealed partitions, while it holds the lease `housekeeping`: one in all daemons."""

    def __init__(
        self, database: Database, keeper: LeaseKeeper, *, pause_seconds: float = 60.0
    ) -> None:
        self.database = database
        self.keeper = keeper
        self.pause_seconds = pause_seconds

    async def run(self) -> None:
        """Looks, and looks again after a pause, until cancelled."""
        while True:
            try:
                if await self.keeper.take(LEASE):
                    await self.look()
            except Exception as error:
                # An index that cannot be made makes searches slow, and nothing wrong.
                if not isinstance(error, asyncpg.PostgresError) and not is_transient(error):
                    raise
                log.warning("housekeeping: %s; trying again", one_line(error))
            await asyncio.sleep(self.pause_seconds)

    async def look(self) -> list[str]:
        """Does what there is to do; returns the partitions that were indexed."""
        connection = await self.database.connect("housekeeping")
        try:
            return await index_sealed(connection)
        finally:
            await close_quietly(connection)
