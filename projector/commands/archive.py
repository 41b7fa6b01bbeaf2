"""`archive`: moves sealed partitions of the log to Parquet files, lists them, brings one back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from cyclopts import Parameter

from events.archive_place import has_password, require_arrow
from projector import schema
from projector.archive_files import File, listed
from projector.archiving import Archiver, Moved, Policy, index_sealed
from projector.database import Database
from projector.declare import Aggregate
from projector.environment import COMMON, Common, declared_of_any_kind, opened, settings
from projector.errors import HeldByAnother, UsageError
from projector.lease import LeaseKeeper
from projector.output import console, print_json, table
from projector.settings import Settings

LEASE = "archive"


async def archive(
    *,
    to: str | None = None,
    older_than_days: float = 0,
    keep_events: int = 0,
    keep_live: Annotated[bool, Parameter(negative="")] = False,
    restore: int | None = None,
    list_files: Annotated[bool, Parameter(name="--list", negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Move full partitions of the log to Parquet files, each compared with its rows before it goes.

    Readers read both as one, meanwhile as well. Killed, the same command goes on.

    Parameters
    ----------
    to
        A folder, or a URL such as s3://bucket/folder [the setting archive-location].
    older_than_days
        Only partitions whose newest event was appended longer ago than that.
    keep_events
        How many of the newest events stay live at least.
    keep_live
        Write the files, and keep the partitions.
    restore
        Bring back the partition that holds this offset, out of its file, which stays.
    list_files
        List the archive's files, and do nothing.
    dry_run
        Say what would be done, and do nothing.
    """
    chosen = settings()
    folder = to or chosen.archive_location
    _check_folder(folder, needed=not list_files and restore is None)
    async with opened(common, chosen) as database:
        connection = await database.first_connect("archive")
        try:
            await schema.check(connection, ())
            if list_files:
                _print_files(await listed(connection), common)
                return
            require_arrow()
            async with held(database, chosen):
                archiver = Archiver(connection, folder, say=console.print)
                if restore is not None:
                    done, held_back = [await archiver.restore(restore)], None
                else:
                    policy = _policy(chosen, keep_events, older_than_days, keep_live)
                    if not dry_run:
                        await index_sealed(connection)
                    done, held_back = await archiver.run(policy, dry_run=dry_run)
                files = await listed(connection)
        finally:
            await connection.close()
    _print_done(done, held_back, files, common)


def _check_folder(folder: str, *, needed: bool) -> None:
    if needed and not folder:
        raise UsageError(
            "no place for the archive: give --to FOLDER, or set --archive-location "
            "(PROJECTOR_ARCHIVE_LOCATION)"
        )
    if has_password(folder):
        raise UsageError(
            "the archive's URL holds a secret, and would be kept in the database; give it by the "
            "environment, such as AWS_SECRET_ACCESS_KEY"
        )


def _policy(chosen: Settings, keep_events: int, days: float, keep_live: bool) -> Policy:
    if keep_events < 0 or days < 0:
        raise UsageError("--keep-events and --older-than-days cannot be below 0")
    return Policy(
        keep_events=keep_events,
        older_than_days=days,
        recent_events=chosen.recent_events,
        projections=[d.name for d in declared_of_any_kind() if not isinstance(d, Aggregate)],
        keep_live=keep_live,
    )


@asynccontextmanager
async def held(database: Database, chosen: Settings) -> AsyncIterator[None]:
    """Holds the lease of whoever moves or rewrites the log. Raises `HeldByAnother`."""
    keeper = LeaseKeeper(database, lease_seconds=chosen.lease_seconds)
    try:
        if not await keeper.take_within(LEASE, chosen.lease_seconds):
            holder = await keeper.holder(LEASE)
            raise HeldByAnother(f"the log is being archived by {holder}; wait for it, or stop it")
        renewing = asyncio.create_task(keeper.run())
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
    finally:
        await keeper.close()


def _print_done(
    done: list[Moved], held_back: str | None, files: list[File], common: Common
) -> None:
    if common.json:
        print_json({"done": done, "held_back": held_back, "files": len(files)})
        return
    if done:
        rows = [(m.first_offset, m.last_offset, m.action, m.bytes, _name(m.location)) for m in done]
        columns = ("first offset", "last offset", "what", "bytes", "file")
        console.print(table("partitions", columns, rows), soft_wrap=True)
    else:
        console.print("Nothing to archive.")
    if held_back is not None:
        console.print(f"No more than that: {held_back}.", soft_wrap=True)


def _print_files(files: list[File], common: Common) -> None:
    if common.json:
        print_json([{**_fields(f), "bytes_per_event": _per_event(f.bytes, f)} for f in files])
        return
    rows = [
        (f.first_offset, f.end_offset - 1, f.bytes, _per_event(f.bytes, f),
         _per_event(f.live_bytes, f), f.live, f.archived_at, _name(f.location))
        for f in files
    ]  # fmt: skip
    columns = ("first", "last", "bytes", "bytes/event", "when live", "live too", "archived at",
               "file")  # fmt: skip
    console.print(table(f"{len(files):,} archive files", columns, rows), soft_wrap=True)


def _name(location: str | None) -> str | None:
    # A folder's path is longer than a terminal is wide; --json has it.
    return location and location.partition("?")[0].rpartition("/")[2]


def _per_event(size: int, file: File) -> float:
    return round(size / file.events, 1)


def _fields(value: object) -> dict[str, object]:
    names: tuple[str, ...] = getattr(value, "__struct_fields__", ())
    return {name: getattr(value, name) for name in names}
