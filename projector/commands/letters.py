"""`dead-letters`: list, show, retry, drop."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import asyncpg
from cyclopts import Parameter

from events.event import Decoded
from projector import schema
from projector.database import APPLY_SETTINGS
from projector.declare import Declaration, Projection
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import CheckFailed, UsageError
from projector.letters import (
    DeadLetter,
    Retried,
    drop,
    find,
    raw_of,
    retry_event,
    retry_message,
)
from projector.output import console, print_json, table
from projector.settings import Settings
from projector.sources import Decoder, decoders_of

LIMIT = 1_000_000
RETRY_SETTINGS = {**APPLY_SETTINGS, "synchronous_commit": "on"}
"""As a projector's, but durable: what a retry settles is not tried again."""


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters, where no ids are given."""

    of: str | None = None
    "All of this projection or source."

    reason: str | None = None
    "All with this reason."

    every: Annotated[bool, Parameter(name="--all", negative="")] = False
    "All there are."


ANY = Selection()


async def list_letters(
    *,
    of: str | None = None,
    reason: str | None = None,
    limit: int = 100,
    common: Common = COMMON,
) -> None:
    """List dead letters, the oldest first.

    Parameters
    ----------
    of
        Only those of this projection or source.
    reason
        Only those with this reason.
    limit
        How many at most.
    """
    async with opened(common, settings()) as database:
        connection = await database.first_connect("dead letters")
        try:
            await schema.check(connection, ())
            letters = await find(connection, where=of, reason=reason, limit=limit)
        finally:
            await connection.close()
    if common.json:
        print_json(letters)
        return
    rows = [
        (x.id, x.projection or x.source, x.log_offset, x.stage, x.reason, x.attempts, x.error)
        for x in letters
    ]
    columns = ("id", "of", "offset", "stage", "reason", "attempts", "error")
    console.print(table(f"{len(letters):,} dead letters", columns, rows))


async def show(
    letter_id: Annotated[int, Parameter(name="id")], /, *, common: Common = COMMON
) -> None:
    """Show one dead letter with its raw bytes.

    Parameters
    ----------
    letter_id
        The letter's id, as `list` prints it.
    """
    async with opened(common, settings()) as database:
        connection = await database.first_connect("dead letters")
        try:
            (letter,) = await _named(connection, [letter_id])
            raw = await raw_of(connection, letter)
        finally:
            await connection.close()
    text = (raw or b"").decode("utf-8", "backslashreplace")
    if common.json:
        print_json({"letter": letter, "raw": text})
        return
    for name in letter.__struct_fields__:
        console.print(f"{name:>14}  {getattr(letter, name)}", markup=False)
    sys.stdout.write(text + "\n")


async def retry(*ids: int, which: Selection = ANY, common: Common = COMMON) -> None:
    """Try dead letters again: decode the message, or apply the event with all that came after it.

    Parameters
    ----------
    ids
        The letters' ids.
    """
    chosen = settings()
    declarations = declared()
    async with opened(common, chosen) as database:
        connection = await database.first_connect("dead letters", **RETRY_SETTINGS)
        try:
            await schema.check(connection, declarations)
            letters = await _selected(connection, ids, which)
            done = [await _retry(connection, x, declarations, chosen) for x in letters]
        finally:
            await connection.close()
    resolved = sum(result.resolved for result in done)
    if common.json:
        print_json(done)
    else:
        for result in done:
            if not result.resolved:
                console.print(f"{result.id}: {result.error}", markup=False, soft_wrap=True)
        console.print(f"{resolved:,} of {len(done):,} dead letters resolved.")
    if resolved < len(done):
        raise CheckFailed(f"{len(done) - resolved} dead letters remain; `show` one to see it")


async def drop_letters(*ids: int, which: Selection = ANY, common: Common = COMMON) -> None:
    """Forget dead letters. What they hold is lost, but for events, which stay in the log.

    Parameters
    ----------
    ids
        The letters' ids.
    """
    async with opened(common, settings()) as database:
        connection = await database.first_connect("dead letters")
        try:
            await schema.check(connection, ())
            letters = await _selected(connection, ids, which)
            dropped = await drop(connection, [letter.id for letter in letters])
        finally:
            await connection.close()
    if common.json:
        print_json({"dropped": dropped})
    else:
        console.print(f"{dropped:,} dead letters dropped.")


async def _selected(
    connection: asyncpg.Connection, ids: Sequence[int], which: Selection
) -> list[DeadLetter]:
    if ids:
        return await _named(connection, ids)
    if which.of is None and which.reason is None and not which.every:
        raise UsageError("say which: ids, --of NAME, --reason REASON, or --all")
    return await find(connection, where=which.of, reason=which.reason, limit=LIMIT)


async def _named(connection: asyncpg.Connection, ids: Sequence[int]) -> list[DeadLetter]:
    letters = await find(connection, ids=ids, limit=LIMIT)
    missing = set(ids) - {letter.id for letter in letters}
    if missing:
        raise UsageError(f"no dead letter has the id {min(missing)}; `dead-letters list` shows all")
    return letters


async def _retry(
    connection: asyncpg.Connection,
    letter: DeadLetter,
    declarations: Sequence[Declaration],
    chosen: Settings,
) -> Retried:
    if letter.projection is None:
        decoders = decoders_of(letter.source, chosen)
        cursor = letter.source_cursor or ""
        return await retry_message(
            connection,
            letter,
            [partial(_decode, decoder, cursor) for decoder in decoders],
            partition_events=chosen.partition_events,
        )
    for declaration in declarations:
        if declaration.name == letter.projection and isinstance(declaration, Projection):
            return await retry_event(connection, letter, declaration, chosen.schema)
    return Retried(id=letter.id, resolved=False, error=f"{letter.projection} is not installed")


def _decode(decoder: Decoder, cursor: str, raw: bytes) -> Decoded:
    return decoder.decode(raw, cursor)
