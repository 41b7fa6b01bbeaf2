"""Committing: a window's effects and its checkpoint, in one transaction (invariant 2)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg

from events.crashpoints import crash_point
from projector.declare import Kept
from projector.errors import CheckpointMoved, SchemaMismatch
from projector.statements import CHECKPOINT, MOVE_CHECKPOINT
from projector.windows import Applied, Step


async def commit_window(
    connection: asyncpg.Connection,
    name: str,
    version: int,
    step: Step,
    write: Callable[[int], Awaitable[Applied]],
) -> Applied:
    """Moves a checkpoint and writes a window, in one transaction; `write` is told the checkpoint's
    count of edits.

    Raises `CheckpointMoved` when the checkpoint is not at `step.after` (invariant 2).
    """
    async with connection.transaction():
        # First, so that of two owners the second waits here and then knows.
        edits = await connection.fetchval(
            MOVE_CHECKPOINT, name, version, step.after, step.through, step.events,
            step.events_per_second,
        )  # fmt: skip
        if edits is None:
            raise CheckpointMoved(name)
        # Recovery: the checkpoint is where it was, and the window is applied.
        crash_point("apply.moved")
        applied = await write(int(edits))
        crash_point("apply.written")  # Recovery: the same; no row, no delta is there.
    # Recovery: all is there, or, the commit being lazy, nothing; the checkpoint tells.
    crash_point("apply.committed")
    return applied


async def read_checkpoint(
    connection: asyncpg.Connection, declaration: Kept, name: str | None = None
) -> int:
    """The offset through which a projection has been applied, at home under `name`.

    Raises `SchemaMismatch` when the database has it not, or in another version.
    """
    name, version = name or declaration.name, declaration.version
    row = await connection.fetchrow(CHECKPOINT, name)
    if row is None:
        raise SchemaMismatch(f"{name} has no checkpoint; run: projector init")
    if row["version"] != version:
        raise SchemaMismatch(
            f"{name} is of version {row['version']} in the database and {version} in this program; "
            f"run: projector rebuild {name}, or use the program of that version"
        )
    return int(row["log_offset"])
