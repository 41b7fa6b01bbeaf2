"""Dead letters: list them, show one, try them again, drop them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from events.crashpoints import crash_point
from events.event import Batch, Decoded, Event, Offset
from events.history import WholeLog
from events.log import Appender
from projector.apply import TableWriter
from projector.database import is_data_error, one_line
from projector.declare import Projection
from projector.fold import Folder, Window
from projector.statements import live

LIST: Final = """
SELECT id, stage, reason, error, projection, log_offset, source, source_cursor, attempts,
    to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at,
    length(raw) AS raw_bytes
FROM projector.dead_letter
WHERE ($1::text IS NULL OR projection = $1 OR source = $1) AND ($2::text IS NULL OR reason = $2)
    AND ($3::bigint[] IS NULL OR id = ANY($3))
ORDER BY id LIMIT $4
"""
RAW: Final = "SELECT raw FROM projector.dead_letter WHERE id = $1"
DROP: Final = "DELETE FROM projector.dead_letter WHERE id = ANY($1::bigint[])"
TRIED: Final = """
UPDATE projector.dead_letter SET attempts = attempts + 1, error = $2, reason = $3 WHERE id = $1
"""
# Holds the projection's window back while the letter is tried, so that both see the same rows.
HOLD: Final = """
UPDATE projector.checkpoint SET edits = edits + 1 WHERE projection = $1 RETURNING log_offset
"""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter without its raw bytes."""

    id: int
    stage: str
    reason: str
    error: str
    projection: str | None
    log_offset: Offset | None
    source: str | None
    source_cursor: str | None
    attempts: int
    created_at: datetime
    raw_bytes: int | None


class Retried(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a letter: `resolved` (applied, or a later event had decided), or not."""

    id: int
    resolved: bool
    error: str | None = None


async def find(
    connection: asyncpg.Connection,
    *,
    where: str | None = None,
    reason: str | None = None,
    ids: Sequence[int] | None = None,
    limit: int = 100,
) -> list[DeadLetter]:
    """Dead letters in the order they came; `where` is a projection or a source."""
    rows = await connection.fetch(LIST, where, reason, ids, limit)
    return [msgspec.convert(dict(row), DeadLetter) for row in rows]


async def raw_of(connection: asyncpg.Connection, letter: DeadLetter) -> bytes | None:
    """The message as it came, or the record of the event that could not be applied."""
    if letter.log_offset is None:
        raw: bytes | None = await connection.fetchval(RAW, letter.id)
        return raw
    event = await _event(connection, letter.log_offset)
    return event.record


async def _event(connection: asyncpg.Connection, offset: int) -> Event:
    (event,) = await WholeLog().read(connection, offset - 1, offset)
    return event


async def drop(connection: asyncpg.Connection, ids: Sequence[int]) -> int:
    """Forgets letters; returns how many there were."""
    return int((await connection.execute(DROP, ids)).split()[-1])


async def retry_event(
    connection: asyncpg.Connection,
    letter: DeadLetter,
    projection: Projection,
    schema: str,
) -> Retried:
    """Applies a letter's event again, with all that came after it for the same record.

    Folding the record's whole later history means that a retry never brings back what a later
    event removed or replaced.
    """
    writer = TableWriter(projection, live(projection, schema))
    try:
        return await _retry_event(connection, letter, Folder(projection), writer)
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if not is_data_error(error):
            raise
        # Rolled back whole: Postgres still refuses what the event says.
        refusal = one_line(error)[:1000]
        await connection.execute(TRIED, letter.id, refusal, letter.reason)
        return Retried(id=letter.id, resolved=False, error=refusal)


async def _retry_event(
    connection: asyncpg.Connection, letter: DeadLetter, folder: Folder, writer: TableWriter
) -> Retried:
    assert letter.log_offset is not None
    async with connection.transaction():
        checkpoint = await connection.fetchval(HOLD, letter.projection)
        await writer.read_feeds(connection)
        event = await _event(connection, letter.log_offset)
        assert event.collection is not None
        # All that the log has of the record since, and of the account's removal.
        history = [
            e
            for e in await WholeLog().of_accounts(
                connection, [event.did], letter.log_offset - 1, checkpoint, [event.collection]
            )
            if e.kind != "commit" or e.rkey == event.rkey
        ]
        # What came before the account's last removal went with it.
        removed = max((e.log_offset for e in history if e.removes_account), default=0)
        after = max(removed, letter.log_offset - 1)
        commits = [e for e in history if e.kind == "commit" and e.log_offset > after]
        rest = Window(after, max(after, checkpoint), commits, [])
        while rest.after < rest.through:
            part, folded = folder.fold_beginning(rest)
            again = [x for x in folded.letters if x.log_offset == letter.log_offset]
            if again:
                await connection.execute(TRIED, letter.id, again[0].error, again[0].reason)
                return Retried(id=letter.id, resolved=False, error=again[0].error)
            folded.letters.clear()
            await writer.write(connection, folded, checkpoint)
            _, rest = rest.cut(part.through)
        await connection.execute(DROP, [letter.id])
        crash_point("retry.written")  # Recovery: the letter is there, its event is not applied.
    crash_point("retry.committed")  # Recovery: the event is applied, the letter gone.
    return Retried(id=letter.id, resolved=True)


async def retry_message(
    connection: asyncpg.Connection,
    letter: DeadLetter,
    decoders: Sequence[Callable[[bytes], Decoded]],
    *,
    partition_events: int,
) -> Retried:
    """Decodes a letter's message again and appends the event to the log.

    It comes to the log late; revisions keep it from undoing what is newer.
    """
    raw: bytes = await connection.fetchval(RAW, letter.id) or b""
    decoded = [decode(raw) for decode in decoders]
    events = [d for d in decoded if isinstance(d, Event)]
    if not events:
        error = next((d.error for d in decoded if hasattr(d, "error")), "not wanted")
        await connection.execute(TRIED, letter.id, error, letter.reason)
        return Retried(id=letter.id, resolved=False, error=error)
    appender = Appender(connection, "dead-letters", partition_events=partition_events)
    await appender.open()
    await appender.append(Batch(cursor=str(letter.id), events=events[:1]))
    await drop(connection, [letter.id])
    return Retried(id=letter.id, resolved=True)
