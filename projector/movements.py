"""Finding the events that moved a counter: in the log, whatever its length."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

import asyncpg
import msgspec

from events.event import Event
from events.history import WholeLog
from projector.home import quoted
from projector.statements import live
from projector.watch import CounterOf, Movement, Watch

STEP_EVENTS: Final = 200_000
"""How many offsets one statement looks at."""

ACCOUNTS_MAX: Final = 500
"""How many accounts are folded at once."""

Keys = dict[str, set[str] | None]
"""By account, the at-uris of its records that concern a key; None for all of them."""

Report = Callable[[int, int], None]
"""Told how many offsets have been looked at, and of how many."""

# Each of these says first how many offsets it saw: fewer than there are where a partition has gone
# to the archive, since a partition is seen whole or not at all.
SEEN: Final = """
SELECT NULL AS did, NULL AS rkey, count(*) FROM projector.event_log
WHERE log_offset > $1 AND log_offset <= $2
UNION ALL
"""
MENTIONS: Final = f"""{SEEN}
SELECT did, rkey, 1 FROM projector.event_log
WHERE log_offset > $1 AND log_offset <= $2 AND kind = 'commit' AND collection = $3
    AND (position($4::bytea IN record) > 0 OR position($5::bytea IN record) > 0
        OR position($6::bytea IN record) > 0)
GROUP BY did, rkey
"""
LATEST: Final = f"""{SEEN}
SELECT did, NULL, max(log_offset) FROM projector.event_log
WHERE log_offset > $1 AND log_offset <= $2 AND (
    (kind = 'commit' AND collection = $3
        AND (did, rkey) IN (SELECT * FROM unnest($4::text[], $5::text[])))
    OR (kind IN ('account', 'sync') AND did = ANY($4::text[])))
GROUP BY did
"""
REFUSED: Final = """
SELECT log_offset FROM projector.dead_letter WHERE projection = $1 AND stage = 'apply'
"""


@dataclass(frozen=True, slots=True)
class Search:
    """A search for what concerns one key of one counter, through the log as it was when begun.

    `through` is the last offset looked at. `refused` are the offsets of events that Postgres would
    not take, and `uncounted` the uris of rows that are judged not to count: their records are taken
    as never having counted, since what was before is not known.
    """

    connection: asyncpg.Connection
    log: WholeLog
    counter: CounterOf
    key: str
    through: int
    refused: Collection[int]
    uncounted: Collection[str]
    report: Report

    async def mentioned(self, after: int) -> Keys:
        """The records that may have counted for the key, by events above an offset.

        A record counts for what its JSON says, so it is looked for in the JSON's bytes: a column
        that is made of the record in another way than by copying is not found. What is found too
        much counts for nothing when it is folded. Holds a few hundred bytes for each record found.
        """
        if self.counter.of_owner:
            return {self.key: None}
        found: Keys = {}
        collection = self.counter.projection.collection
        needles = spellings(self.key)
        for begin, end in steps(after, self.through):
            for did, rkey in await self._mentioned_in(begin, end, needles):
                uris = found.setdefault(did, set())
                assert uris is not None
                uris.add(f"at://{did}/{collection}/{rkey}")
            self.report(end - after, self.through - after)
        return found

    async def _mentioned_in(
        self, after: int, through: int, needles: tuple[bytes, ...]
    ) -> set[tuple[str, str]]:
        collection = self.counter.projection.collection
        rows = await self.connection.fetch(MENTIONS, after, through, collection, *needles)
        if seen(rows) == through - after:
            return {(did, rkey) for did, rkey, _ in rows if did is not None}
        return {
            (event.did, event.rkey or "")
            async for event in self._scanned(after, through)
            if event.record is not None and any(needle in event.record for needle in needles)
        }

    async def _scanned(self, after: int, through: int) -> AsyncIterator[Event]:
        wanted = [self.counter.projection.collection]
        async for events in self.log.scan(self.connection, after, through, wanted):
            for event in events:
                yield event

    async def latest_offsets(self, keys: Keys, after: int) -> dict[str, int]:
        """By account, the offset of the last event above `after` that may have moved the key."""
        pairs = [(did, uri.rpartition("/")[2]) for did, uris in keys.items() for uri in uris or ()]
        columns = [list(column) for column in zip(*pairs, strict=True)] or [[], []]
        found: dict[str, int] = {}
        for begin, end in steps(after, self.through):
            rows = await self.connection.fetch(
                LATEST, begin, end, self.counter.projection.collection, *columns
            )
            if seen(rows) == end - begin:
                found.update({did: last for did, _, last in rows if did is not None})
                continue
            async for event in self._scanned(begin, end):
                uris = keys.get(event.did, ())
                if event.removes_account or (event.kind == "commit" and event.uri in (uris or ())):
                    found[event.did] = event.log_offset
        return {did: found[did] for did in keys if did in found}

    async def watched(self, keys: Keys) -> dict[str, Watch]:
        """Folds accounts from the log's first event on; what each had to do with the key.

        To be called with a bounded number of accounts. Only the records in question are looked at,
        unless others may have had a say: a record that counted for another key too competed there
        with them.
        """
        by = self.counter.count.by
        unique = self.counter.projection.table.unique
        if unique is not None and by not in unique:
            # Records with the same claim count for different keys.
            keys = dict.fromkeys(keys)
        found = await self._fold(keys)
        strayed = {did: None for did, watch in found.items() if watch.strayed and watch.only}
        return found | await self._fold(strayed) if strayed else found

    async def _fold(self, keys: Mapping[str, Collection[str] | None]) -> dict[str, Watch]:
        decode = self.counter.projection.decoder()
        found = {
            did: Watch(
                self.counter, self.key, only=only, refused=self.refused, decode=decode,
                uncounted=self.uncounted,
            )
            for did, only in keys.items()
        }  # fmt: skip
        wanted = [self.counter.projection.collection]
        for begin, end in steps(0, self.through):
            events = await self.log.of_accounts(self.connection, list(found), begin, end, wanted)
            for event in events:
                found[event.did].eat(event)
        return found

    async def latest(self, keys: Keys, after: int, count: int) -> tuple[list[Movement], int]:
        """The last so many movements above an offset, the latest first, and how many events of the
        accounts looked at were repeats.

        Accounts are folded in the order of their last event, until none of the rest can have a
        movement among the latest.
        """
        last = {self.key: self.through} if self.counter.of_owner else None
        if last is None:
            last = await self.latest_offsets(keys, after)
        order = sorted(last, key=lambda did: -last[did])
        movements: list[Movement] = []
        repeats = 0
        for dids in batches(order, min(ACCOUNTS_MAX, 4 * count)):
            if len(movements) == count and movements[-1].log_offset > last[dids[0]]:
                break
            for watch in (await self.watched({did: keys[did] for did in dids})).values():
                movements += [m for m in watch.movements if m.log_offset > after]
                repeats += watch.repeats
            movements = sorted(movements, key=lambda m: -m.log_offset)[:count]
        return movements, repeats


@dataclass(slots=True)
class Course:
    """All that ever happened to a key: its movements in the order of the log, the uris that count
    by now, and of each uri the offset at which it last began or ceased to count."""

    movements: list[Movement]
    counted: set[str]
    changed_at: dict[str, int]

    @property
    def value(self) -> int:
        """What the counter must be."""
        return len(self.counted)


async def course_of(search: Search) -> Course:
    """Folds the whole log for one key."""
    keys = await search.mentioned(0)
    course = Course([], set(), {})
    for dids in batches(sorted(keys), ACCOUNTS_MAX):
        for watch in (await search.watched({did: keys[did] for did in dids})).values():
            course.movements += watch.movements
            course.counted |= watch.counted
            course.changed_at |= watch.changed_at
    course.movements.sort(key=lambda m: m.log_offset)
    return course


@asynccontextmanager
async def searching(
    connection: asyncpg.Connection,
    counter: CounterOf,
    key: str,
    through: int,
    report: Report = lambda _done, _all: None,
    *,
    schema: str = "bsky",
) -> AsyncIterator[Search]:
    """A search through the log up to an offset; the tables are in `schema`."""
    rows = await connection.fetch(REFUSED, counter.projection.name)
    refused = frozenset(row[0] for row in rows)
    uncounted = await _uncounted(connection, counter, key, schema)
    log = WholeLog()
    try:
        yield Search(connection, log, counter, key, through, refused, uncounted, report)
    finally:
        await log.close()


async def _uncounted(
    connection: asyncpg.Connection, counter: CounterOf, key: str, schema: str
) -> frozenset[str]:
    count = counter.count
    if count.unless is None:
        return frozenset()
    rows = await connection.fetch(
        f"SELECT uri FROM {live(count.of, schema).counted(count)}"
        f" WHERE {quoted(count.by)} = $1 AND {quoted(count.unless)}",
        key,
    )
    return frozenset(row[0] for row in rows)


def spellings(key: str) -> tuple[bytes, bytes, bytes]:
    """What the JSON of a record has somewhere that says `key`: one of these at least.

    JSON may write a slash as `\\/`, and any character as `\\u` and its number. Such records are
    rare enough to be folded all.
    """
    return msgspec.json.encode(key)[1:-1], rb"\/", rb"\u"


def seen(rows: list[asyncpg.Record]) -> int:
    """How many offsets a statement that begins with `SEEN` saw."""
    return next(int(row[2]) for row in rows if row[0] is None)


def steps(after: int, through: int) -> Iterator[tuple[int, int]]:
    """The range of offsets in pieces of bounded length, in order."""
    for begin in range(after, through, STEP_EVENTS):
        yield begin, min(begin + STEP_EVENTS, through)


def batches(items: list[str], size: int) -> Iterator[list[str]]:
    """The items, so many at a time."""
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
