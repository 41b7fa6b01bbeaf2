"""Erasure: an account's events become empty markers, in tables, live log and archive."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import msgspec

from events import archive, archive_place
from events.archive import Archived, ArchiveFile, ArchiveWriter
from events.crashpoints import crash_point
from events.event import Event
from events.history import WholeLog
from events.log import LogCorrupt, read_head
from events.rows import times_in_microseconds
from projector.account import AccountWriter
from projector.apply import TableWriter
from projector.archive_files import listed
from projector.archiving import NAME, Archiver, rows_of
from projector.declare import AccountProjection, Projection
from projector.errors import CheckFailed
from projector.fold import Folded, Folder, Window
from projector.letters import HOLD
from projector.partitions import DDL_SECONDS_MAX
from projector.statements import live

ERASED: Final = "erased"
RANGE_EVENTS: Final = 1_000_000
CHUNK_EVENTS: Final = 2_000
APPLIED_SECONDS_MAX: Final = 60.0

BEHIND: Final = """
SELECT c.projection, c.log_offset, l.owner IS NOT NULL AS is_run FROM projector.checkpoint AS c
LEFT JOIN projector.lease AS l ON l.name = 'projection ' || c.projection AND l.until > now()
WHERE c.projection = ANY($1) AND c.log_offset < $2 ORDER BY is_run, c.log_offset LIMIT 1
"""
BESIDE: Final = """
SELECT string_agg(projection, ', ' ORDER BY projection) FROM projector.checkpoint
WHERE position('@' in projection) > 0
"""
BEGUN: Final = """
SELECT id, through_offset, offsets FROM projector.erasure
WHERE did_sha256 = $1 AND finished_at IS NULL
"""
BEGIN: Final = """
INSERT INTO projector.erasure (did_sha256, through_offset, offsets, offsets_sha256)
VALUES ($1, $2, $3, $4) RETURNING id
"""
# Nor does the audit remember it.
AUDITED: Final = """
WITH gone AS (DELETE FROM projector.audit_account WHERE did = $1 RETURNING 1)
UPDATE projector.audit_state SET accounts = accounts - (SELECT count(*) FROM gone)
"""
FINDINGS: Final = """
WITH counters AS (DELETE FROM projector.counter_finding
    WHERE key = $1 OR starts_with(key, 'at://' || $1 || '/'))
DELETE FROM projector.finding WHERE did = $1
"""
# What of the account came after the erased events stays; the letters of its events go with them.
EVENT_LETTERS: Final = """
DELETE FROM projector.dead_letter WHERE projection IS NOT NULL AND log_offset = ANY($1::bigint[])
"""
MESSAGE_LETTERS: Final = """
DELETE FROM projector.dead_letter
WHERE source IS NOT NULL AND position(convert_to($1, 'UTF8') in raw) > 0
"""
COUNT_LETTERS: Final = """
UPDATE projector.erasure SET dead_letters = dead_letters + $2 WHERE id = $1
"""
# appended_at stays: it is ours, and tells a partition's age.
ERASE: Final = """
UPDATE projector.event_log SET did = '', kind = 'erased', action = 'erased', collection = NULL,
    rkey = NULL, rev = NULL, cid = NULL, source_cursor = '', record = NULL,
    occurred_at = '1970-01-01T00:00:00Z'
WHERE log_offset = ANY($1::bigint[]) AND kind <> 'erased'
"""
PARTITIONS: Final = """
SELECT table_name FROM projector.log_partition AS p
WHERE EXISTS (SELECT FROM unnest($1::bigint[]) AS o
    WHERE o >= p.first_offset AND o < p.end_offset) ORDER BY first_offset
"""
REPLACE: Final = """
UPDATE projector.log_archive SET location = $2, bytes = $3, sha256 = $4
WHERE first_offset = $1 AND sha256 = $5
"""
NOTE: Final = "INSERT INTO projector.erasure_file VALUES ($1, $2, $3, $4, $5)"
REPLACED: Final = "SELECT old_location FROM projector.erasure_file WHERE erasure = $1"
FINISH: Final = "UPDATE projector.erasure SET finished_at = now() WHERE id = $1"
RECEIPT: Final = """
SELECT id, did_sha256, through_offset, cardinality(offsets) AS events, offsets_sha256,
    dead_letters, to_char(finished_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
        AS finished_at,
    (SELECT count(*) FROM projector.erasure_file WHERE erasure = id) AS files
FROM projector.erasure WHERE id = $1
"""


class Receipt(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure did; the account is known by the SHA-256 of its DID."""

    id: int
    did_sha256: str
    through_offset: int
    events: int
    offsets_sha256: str
    dead_letters: int
    files: int
    finished_at: str


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure under way: its receipt's id, and the offsets that become markers."""

    id: int
    through: int
    offsets: list[int]


def sha256_of(text: str) -> str:
    """The hash by which a DID, or a list of offsets, is known."""
    return hashlib.sha256(text.encode()).hexdigest()


def offsets_digest(offsets: Sequence[int]) -> str:
    """The SHA-256 of offsets in decimal, separated by commas."""
    return sha256_of(",".join(map(str, offsets)))


def marker(row: Sequence[Any]) -> tuple[Any, ...]:
    """What a row of the log, with all columns, becomes."""
    return (row[0], "", ERASED, ERASED, None, None, None, None, "", None, 0, row[-1])


def is_marker(event: Event) -> bool:
    """Whether an event is an empty marker."""
    return event == Event(event.log_offset, "", ERASED, ERASED, None, None, None, None, None, 0)


class Eraser:
    """Erases one account over one connection; its caller holds the archiver's lease.

    Killed anywhere, the same command goes on: the offsets are in the receipt from the beginning,
    and every step may be done again.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        projections: Sequence[Projection | AccountProjection],
        schema: str,
        *,
        say: Callable[[str], None],
    ) -> None:
        self.connection = connection
        self.projections = projections
        self.schema = schema
        self.say = say
        self.whole = WholeLog()

    async def find(self, did: str) -> Erasure:
        """What there is to erase; `id` is 0 where it has not begun."""
        await times_in_microseconds(self.connection)
        row = await self.connection.fetchrow(BEGUN, sha256_of(did))
        if row is not None:
            return Erasure(*row)
        head = await read_head(self.connection)
        offsets: list[int] = []
        for after in range(0, head, RANGE_EVENTS):
            through = min(after + RANGE_EVENTS, head)
            found = await self.whole.of_accounts(self.connection, [did], after, through)
            offsets += [event.log_offset for event in found]
        return Erasure(0, head, offsets)

    async def erase(self, did: str, found: Erasure) -> Receipt:
        """Does it all. Raises `CheckFailed` where a projection has yet to apply the events."""
        await self._check_alone()
        await self._wait_applied(found.through)
        erasure = found if found.id else await self._begin(did, found)
        crash_point("forget.begun")
        await self._erase_log(erasure)
        await self._erase_files(erasure)
        for projection in self.projections:
            if isinstance(projection, AccountProjection):
                await self._erase_account(did, erasure, projection)
            else:
                await self._erase_tables(did, erasure, projection)
            crash_point("forget.table")
        await self._erase_letters(did, erasure)
        crash_point("forget.letters")
        for partition in await self.connection.fetch(PARTITIONS, erasure.offsets):
            # What an update leaves behind is on the disk until then.
            await self.connection.execute(
                f"VACUUM projector.{partition[0]}", timeout=DDL_SECONDS_MAX
            )
        await self.connection.execute(FINISH, erasure.id)
        crash_point("forget.finished")
        row = await self.connection.fetchrow(RECEIPT, erasure.id)
        return msgspec.convert(dict(row or {}), Receipt)

    async def _check_alone(self) -> None:
        """Raises `CheckFailed` where tables beside the live ones hold the account's rows."""
        others = await self.connection.fetchval(BESIDE)
        if others:
            raise CheckFailed(
                f"the tables of an unfinished or kept rebuild ({others}) hold the account's rows "
                "too; remove them first: projector rebuild --all --abandon"
            )

    async def _wait_applied(self, through: int) -> None:
        """Waits for projections that are on their way; events they have not met must stay."""
        names = [p.name for p in self.projections]
        deadline = asyncio.get_running_loop().time() + APPLIED_SECONDS_MAX
        while behind := await self.connection.fetchrow(BEHIND, names, through):
            if asyncio.get_running_loop().time() >= deadline or not behind["is_run"]:
                raise CheckFailed(
                    f"{behind['projection']} has applied the log up to {behind['log_offset']:,} of "
                    f"{through:,}, and what it has not met cannot be erased; let it catch up: "
                    "projector run --until-caught-up"
                )
            await asyncio.sleep(0.1)

    async def _begin(self, did: str, found: Erasure) -> Erasure:
        identity = await self.connection.fetchval(
            BEGIN, sha256_of(did), found.through, found.offsets, offsets_digest(found.offsets)
        )
        return Erasure(identity, found.through, found.offsets)

    async def _erase_log(self, erasure: Erasure) -> None:
        """Each chunk is one transaction; what is a marker already stays one."""
        for i in range(0, len(erasure.offsets), CHUNK_EVENTS):
            await self.connection.execute(ERASE, erasure.offsets[i : i + CHUNK_EVENTS])
            crash_point("forget.log")

    async def _erase_files(self, erasure: Erasure) -> None:
        for (location,) in await self.connection.fetch(REPLACED, erasure.id):
            # Killed after its successor was known, and before it was deleted.
            await asyncio.to_thread(archive_place.delete, location)
        for file in await listed(self.connection):
            inside = {o for o in erasure.offsets if file.first_offset <= o < file.end_offset}
            if inside:
                await self._erase_file(erasure, file.archived, inside)

    async def _erase_file(self, erasure: Erasure, file: Archived, offsets: set[int]) -> None:
        folder = archive_place.folder_of(file.location)
        archiver = Archiver(self.connection, folder, say=self.say)
        await archiver.clean()
        unfinished = await archiver.unfinished(file.first_offset)
        if not await asyncio.to_thread(_rewrite, file, unfinished, offsets):
            await asyncio.to_thread(archive_place.delete, unfinished)
            return
        # Killed before it has its name: the next run, or an archiver's, deletes it.
        crash_point("forget.written")
        size, sha256 = await asyncio.to_thread(archive_place.measured, unfinished)
        last = file.end_offset - 1
        name = NAME.format(first=file.first_offset, last=last, sha256=sha256)
        location = archive_place.joined(folder, name)
        await asyncio.to_thread(archive_place.move, unfinished, location)
        # Killed here, the next run makes the same file, and gives it the same name.
        crash_point("forget.named")
        async with self.connection.transaction():
            done = await self.connection.execute(
                REPLACE, file.first_offset, location, size, sha256, file.sha256
            )
            if done != "UPDATE 1":
                raise LogCorrupt(f"the archive's row of {file.location} has changed meanwhile")
            await self.connection.execute(
                NOTE, erasure.id, file.first_offset, file.location, file.sha256, sha256
            )
        # Killed here, the receipt says which file is to be deleted.
        crash_point("forget.known")
        await asyncio.to_thread(archive_place.delete, file.location)
        crash_point("forget.deleted")

    async def _erase_tables(self, did: str, erasure: Erasure, projection: Projection) -> None:
        """Takes the account's rows out, and puts back what came of events after the erased."""
        writer = TableWriter(projection, live(projection, self.schema))
        folder = Folder(projection)
        async with self.connection.transaction():
            checkpoint = await self.connection.fetchval(HOLD, projection.name)
            await writer.read_feeds(self.connection)
            removal = Folded(removed_accounts=[did])
            await writer.write(self.connection, removal, checkpoint)
            later = await self.whole.of_accounts(
                self.connection, [did], erasure.through, checkpoint, projection.collections
            )
            commits = [e for e in later if e.kind == "commit"]
            removals = [e for e in later if e.removes_account]
            rest = Window(erasure.through, checkpoint, commits, removals)
            while rest.events:
                part, folded = folder.fold_beginning(rest)
                await writer.write(self.connection, folded, checkpoint)
                _, rest = rest.cut(part.through)

    async def _erase_account(self, did: str, erasure: Erasure, accounts: AccountProjection) -> None:
        """Takes the account's row out, and puts back what came of events after the erased."""
        writer = AccountWriter(accounts, live(accounts, self.schema))
        async with self.connection.transaction():
            checkpoint = await self.connection.fetchval(HOLD, accounts.name)
            later = await self.whole.of_accounts(
                self.connection, [did], erasure.through, checkpoint
            )
            told = [event for event in later if event.kind in accounts.reads]
            await writer.begin_anew(self.connection, did, told)

    async def _erase_letters(self, did: str, erasure: Erasure) -> None:
        async with self.connection.transaction():
            deleted = 0
            for query, value in ((EVENT_LETTERS, erasure.offsets), (MESSAGE_LETTERS, did)):
                done = await self.connection.execute(query, value)
                deleted += int(done.split()[-1])
            await self.connection.execute(COUNT_LETTERS, erasure.id, deleted)
            await self.connection.execute(AUDITED, did)
            await self.connection.execute(FINDINGS, did)


def _rewrite(file: Archived, location: str, offsets: set[int]) -> bool:
    """Writes a file again with markers at the offsets, and reads it back; whether it changed.

    Raises `LogCorrupt` where what was written is not what should be.
    """
    old = ArchiveFile(file, check=True)
    writer = ArchiveWriter(location)
    changed = False
    try:
        for group in range(len(old.starts)):
            rows = _with_markers(rows_of(old, group), offsets)
            changed |= not archive.is_same(old.table(group), rows)
            writer.add(rows)
        writer.finish()
        size, sha256 = archive_place.measured(location)
        new = ArchiveFile(Archived(file.first_offset, file.end_offset, location, size, sha256))
        for group in range(len(old.starts)):
            rows = _with_markers(rows_of(old, group), offsets)
            if not archive.is_same(new.table(group), rows):
                raise LogCorrupt(f"{location} is not what was written")
        new.close()
    finally:
        writer.abandon()
        old.close()
    return changed


def _with_markers(rows: list[tuple[Any, ...]], offsets: set[int]) -> list[tuple[Any, ...]]:
    return [marker(row) if row[0] in offsets else row for row in rows]
