"""One number explained: what is stored, what is on its way, what is counted, and what moved it."""

from __future__ import annotations

import shlex
from typing import Final

import asyncpg
import msgspec

from events.history import WholeLog
from events.log import read_head
from projector.aggregate import AUDIT_SECONDS_MAX
from projector.errors import UsageError
from projector.home import counting, quoted
from projector.movements import Report, Search, searching, spellings
from projector.snapshots import snapshot, tables_of
from projector.statements import live
from projector.watch import CounterOf, Movement

PENDING: Final = """
SELECT projection, through_offset, d::bigint
FROM projector.outbox, unnest(keys, deltas) AS u(k, d)
WHERE aggregate = $1 AND counter = $2 AND k = $3 ORDER BY id
"""
CHECKPOINT: Final = "SELECT log_offset FROM projector.checkpoint WHERE projection = $1"
# Letters whose event is in the archive are found, too: their event is looked at there.
LETTERS: Final = """
SELECT d.id, d.log_offset, d.stage, d.reason, d.error, e.did, e.rkey, e.log_offset IS NULL AS gone
FROM projector.dead_letter AS d LEFT JOIN projector.event_log AS e ON e.log_offset = d.log_offset
WHERE d.projection = $1 AND (e.log_offset IS NULL OR e.did = $2
    OR position($3::bytea IN e.record) > 0 OR position($4::bytea IN e.record) > 0)
ORDER BY d.log_offset DESC LIMIT $5
"""

LISTED_MAX: Final = 100
"""How many duplicates are listed; all are counted."""

LETTERS_MAX: Final = 1_000
"""How many letters are looked at, the latest first."""


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the counter that waits in the outbox."""

    projection: str
    through_offset: int
    change: int


class Duplicate(msgspec.Struct, frozen=True, kw_only=True):
    """A record that would count, but waits behind an earlier one with the same claim."""

    uri: str
    creator: str
    duplicate_of: str | None
    indexed_at: str


class LetterOf(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter whose record might have counted."""

    id: int
    log_offset: int
    stage: str
    reason: str
    error: str
    uri: str


class Numbers(msgspec.Struct, frozen=True, kw_only=True):
    """What the database says of a counter's key in one snapshot.

    `counted` is the number of rows through `checkpoint`, that of their projection. Invariant 7:
    `stored` and the sum of `pending` are as much.
    """

    stored: int
    pending: list[Delta]
    counted: int
    checkpoint: int
    head: int
    duplicates: list[Duplicate]
    duplicates_total: int
    dead_letters: list[LetterOf]

    @property
    def kept(self) -> int:
        """What the counter says once all deltas have arrived."""
        return self.stored + sum(delta.change for delta in self.pending)

    @property
    def agrees(self) -> bool:
        """Whether invariant 7 holds for the key."""
        return self.kept == self.counted


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """Which offsets were looked at: above `after` up to `through`.

    `complete`: no movement among the latest can be missing. Else the deletion of a record from
    before is not known for one.
    """

    after: int
    through: int
    complete: bool


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known of one number."""

    counter: str
    key: str
    projection: str
    column: str
    numbers: Numbers
    movements: list[Movement]
    repeats: int
    searched: Searched
    advice: str | None


async def read_numbers(
    connection: asyncpg.Connection, counter: CounterOf, key: str, schema: str
) -> Numbers:
    """Reads the numbers; to be called in a snapshot."""
    aggregate = counter.aggregate
    home = live(counter.projection, schema)
    by = quoted(counter.count.by)
    stored = await connection.fetchval(
        f"SELECT {quoted(counter.name)} FROM {quoted(schema)}.{quoted(aggregate.table)}"
        f" WHERE {quoted(aggregate.key)} = $1",
        key,
    )
    pending = await connection.fetch(PENDING, aggregate.name, counter.name, key)
    counted = f"SELECT count(*) FROM {home.counted(counter.count)} WHERE {by} = $1"
    counted += counting(counter.count)
    duplicates, total = await _duplicates(connection, counter, key, schema)
    return Numbers(
        stored=stored or 0,
        pending=[Delta(projection=p, through_offset=at, change=n) for p, at, n in pending],
        counted=await connection.fetchval(counted, key, timeout=AUDIT_SECONDS_MAX),
        checkpoint=await connection.fetchval(CHECKPOINT, counter.projection.name) or 0,
        head=await read_head(connection),
        duplicates=duplicates,
        duplicates_total=total,
        dead_letters=await _letters(connection, counter, key),
    )


async def _duplicates(
    connection: asyncpg.Connection, counter: CounterOf, key: str, schema: str
) -> tuple[list[Duplicate], int]:
    table = counter.projection.table
    if table.unique is None:
        return [], 0
    home = live(counter.projection, schema)
    rows = await connection.fetch(
        'SELECT s.uri, s.creator, d."duplicateOf", s."indexedAt", count(*) OVER ()'
        f" FROM {home.shelf(table)} AS s LEFT JOIN {home.list(table)} AS d ON d.uri = s.uri"
        f" WHERE s.{quoted(counter.count.by)} = $1"
        ' ORDER BY s."indexedAt" DESC, s.uri LIMIT $2',
        key,
        LISTED_MAX,
    )
    found = [
        Duplicate(uri=uri, creator=creator, duplicate_of=first, indexed_at=at)
        for uri, creator, first, at, _ in rows
    ]
    return found, rows[0][4] if rows else 0


async def _letters(connection: asyncpg.Connection, counter: CounterOf, key: str) -> list[LetterOf]:
    plain, slashes, _ = spellings(key)
    escaped = plain.replace(b"/", slashes)
    name, collection = counter.projection.name, counter.projection.collection
    rows = await connection.fetch(LETTERS, name, key, plain, escaped, LETTERS_MAX)
    log = WholeLog()
    found: list[LetterOf] = []
    try:
        for number, offset, stage, reason, error, live_did, live_rkey, gone in rows:
            did, rkey = live_did, live_rkey
            if gone:
                (event,) = await log.read(connection, offset - 1, offset)
                record = event.record or b""
                if event.did != key and plain not in record and escaped not in record:
                    continue
                did, rkey = event.did, event.rkey
            found.append(
                LetterOf(
                    id=number, log_offset=offset, stage=stage, reason=reason, error=error,
                    uri=f"at://{did}/{collection}/{rkey}",
                )
            )  # fmt: skip
    finally:
        await log.close()
    return found


async def explain(
    connection: asyncpg.Connection,
    counter: CounterOf,
    key: str,
    schema: str,
    *,
    last: int = 10,
    search_events: int = 2_000_000,
    report: Report,
) -> Explanation:
    """Explains one number: the `last` events that moved it, looked for among so many of the log's
    latest (0: all there are).

    Raises `UsageError` for a key that nobody ever mentioned.
    """
    async with snapshot(connection, tables_of([counter.aggregate], schema)):
        numbers = await read_numbers(connection, counter, key, schema)
    # The log only grows: it can be read after the snapshot, up to what the rows have of it.
    through = numbers.checkpoint
    after = max(through - search_events, 0) if search_events and not counter.of_owner else 0
    async with searching(connection, counter, key, through, report, schema=schema) as search:
        movements, repeats = await _latest(search, after, last)
    found = Explanation(
        counter=counter.full_name,
        key=key,
        projection=counter.projection.name,
        column=counter.count.by,
        numbers=numbers,
        movements=movements,
        repeats=repeats,
        searched=Searched(after=after, through=through, complete=after == 0),
        advice=None if numbers.agrees else advice(counter, key),
    )
    if not _is_known(found):
        raise UsageError(_unknown(found))
    return found


async def _latest(search: Search, after: int, last: int) -> tuple[list[Movement], int]:
    return await search.latest(await search.mentioned(after), after, last)


def _is_known(found: Explanation) -> bool:
    numbers = found.numbers
    return bool(
        found.movements or numbers.stored or numbers.pending or numbers.counted
        or numbers.duplicates or numbers.dead_letters or found.repeats
    )  # fmt: skip


def _unknown(found: Explanation) -> str:
    where = found.searched
    if where.complete:
        range_said, then = f"the log's {where.through:,} events", "check the key"
    else:
        range_said = f"the offsets above {where.after:,}"
        then = "check the key, or look through the whole log by --search-events 0"
    return (
        f"nothing ever counted for {found.key!r} in {found.counter}: none of {range_said}; {then}"
    )


def account_of(key: str) -> str | None:
    """The account that a key belongs to: itself, or the owner of its at-uri; None without one."""
    did = key.removeprefix("at://").partition("/")[0]
    return did if did.startswith("did:") else None


def advice(counter: CounterOf, key: str) -> str:
    """What to type when a counter is not what its rows are."""
    did = account_of(key)
    since = f"projector bisect {counter.full_name} {shlex.quote(key)}"
    if did is None:
        return (
            f"projector rebuild {counter.aggregate.name}, and before it, to see since when: {since}"
        )
    return f"projector heal {shlex.quote(did)}, and before it, to see since when: {since}"
