"""Proof of everything: one pass over tables and log, in memory that does not grow with them.

The log never changes, so only the tables need a snapshot, and no longer than it takes to copy them
out. Both are spilled to disk by account; then each bucket is compared by itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import asyncpg
from msgspec.structs import astuple

from events.event import Event
from events.history import WholeLog
from projector.declare import Projection, Table
from projector.differences import (
    LIST_COLUMNS,
    LISTED,
    REV,
    ROW,
    WAITING,
    Found,
    select_cells,
    select_orphans,
)
from projector.home import listed
from projector.prove import Subject, Truths, Verdict, read_subjects
from projector.snapshots import snapshot, tables_of
from projector.spill import Spill

BUCKET_RECORDS: Final = 200_000
"""How many events and rows are compared at once: about 200 MB of them."""

LEVELS_MAX: Final = 3
"""How often a bucket is split: with 128 buckets each time, enough for any log."""

FETCH_ROWS: Final = 5_000

ESTIMATE: Final = """
SELECT coalesce(sum(greatest(reltuples, 0)), 0)::bigint FROM pg_class
WHERE oid = ANY($1::text[]::regclass[])
"""

Report = Callable[[str, int, int], None]
"""Told of progress: what is done, how far it is, and how far it goes (an estimate for tables)."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What a pass found: a verdict per projection, events read, and the disk that it took."""

    verdicts: list[Verdict]
    events: int
    rows: int
    spilled_bytes: int


@dataclass(frozen=True, slots=True)
class _Part:
    """A table to copy out: of which projection, which part of it, and by which query; and which of
    its columns names the account, where one does."""

    at: int
    part: str
    relation: str
    query: str
    owner: int | None


def parts_of(subjects: Sequence[Subject]) -> list[_Part]:
    """The tables of the projections; a list that several share comes once."""
    found = []
    lists: set[str] = set()
    for at, subject in enumerate(subjects):
        projection, home, table = subject.projection, subject.home, subject.projection.table
        columns = select_cells(projection, home)
        kept = [(ROW, home.base(table), columns), (REV, home.versions(projection), "uri, rev")]
        if table.unique:
            kept.append((WAITING, home.shelf(table), columns))
            if home.list(table) not in lists:
                lists.add(home.list(table))
                kept.append((LISTED, home.list(table), f"uri, {listed(LIST_COLUMNS)}"))
        for part, name, what in kept:
            owner = _owner_at(table) if part in (ROW, WAITING) else None
            found.append(_Part(at, part, name, f"SELECT {what} FROM {name} AS t", owner))
        if projection.children:
            orphans = select_orphans(projection, home)
            found.append(_Part(at, ROW, home.child(projection.children[0]), orphans, None))
    return found


def _owner_at(table: Table) -> int | None:
    return table.columns.index(table.account) if table.account else None


class _Buckets:
    """Rows and events, spilled alike: what is of one account is in buckets of one number."""

    def __init__(self, folder: Path | None, records: int, *, spread: int = 1) -> None:
        wanted = -(-records // BUCKET_RECORDS)
        self.folder = folder
        self.rows = Spill(folder, wanted, spread=spread)
        self.events = Spill(folder, wanted, spread=spread)

    def put_row(self, did: str, at: int, part: str, cells: Iterable[object]) -> None:
        self.rows.put(did, (did, at, part, *cells))

    def put_event(self, event: Event) -> None:
        self.events.put(event.did, astuple(event))

    def finish(self) -> None:
        self.rows.finish()
        self.events.finish()

    def close(self) -> None:
        self.rows.close()
        self.events.close()

    @property
    def bytes(self) -> int:
        return self.rows.bytes + self.events.bytes

    def count(self, bucket: int) -> int:
        return self.rows.counts[bucket] + self.events.counts[bucket]

    def split(self, bucket: int) -> _Buckets:
        """What is in one bucket, in buckets of its own."""
        spread = self.rows.spread * self.rows.buckets
        finer = _Buckets(self.folder, self.count(bucket), spread=spread)
        for row in self.rows.read(bucket):
            finer.rows.put(row[0], row)
        for event in self.events.read(bucket):
            finer.events.put(event[1], event)
        finer.finish()
        return finer


class WholeProof:
    """Proves all accounts of some projections; `folder` is where it spills (None: the system's)."""

    def __init__(
        self,
        projections: Sequence[Projection],
        schema: str,
        *,
        folder: Path | None = None,
        report: Report = lambda _what, _done, _of: None,
    ) -> None:
        self.projections = projections
        self.schema = schema
        self.folder = folder
        self.report = report
        self.log = WholeLog()
        self.subjects: list[Subject] = []

    async def run(self, connection: asyncpg.Connection) -> Proof:
        """Compares every row with the log. Raises asyncpg's errors, and `LogCorrupt`."""
        with ExitStack() as scratch:
            async with snapshot(connection, tables_of(self.projections, self.schema)):
                self.subjects = await read_subjects(connection, self.projections, self.schema)
                parts = parts_of(self.subjects)
                through = max((subject.through for subject in self.subjects), default=0)
                relations = [part.relation for part in parts]
                estimate = int(await connection.fetchval(ESTIMATE, relations))
                buckets = _Buckets(self.folder, through + estimate)
                scratch.callback(buckets.close)
                rows = await self._spill_tables(connection, parts, buckets, estimate)
            events = await self._spill_log(connection, buckets, through)
            buckets.finish()
            verdicts = [Verdict(subject) for subject in self.subjects]
            done = 0
            for count in self._compare_all(buckets, verdicts, 1):
                done += count
                self.report("comparing", done, rows + events)
            return Proof(verdicts, events, rows, buckets.bytes)

    async def _spill_tables(
        self,
        connection: asyncpg.Connection,
        parts: Sequence[_Part],
        buckets: _Buckets,
        estimate: int,
    ) -> int:
        rows = 0
        claimed = [(at, s.projection) for at, s in enumerate(self.subjects)]
        places = {p.collection: at for at, p in claimed if p.table.unique}
        for part in parts:
            async for batch in _rows_of(connection, part.query):
                for row in batch:
                    did, collection = account_of(row[0])
                    at = places.get(collection, part.at) if part.part == LISTED else part.at
                    if not did and part.owner is not None:
                        did = row[part.owner]
                    buckets.put_row(did, at, part.part, row)
                rows += len(batch)
                self.report("reading tables", rows, max(estimate, rows))
        return rows

    async def _spill_log(
        self, connection: asyncpg.Connection, buckets: _Buckets, through: int
    ) -> int:
        events = 0
        collections = [c for subject in self.subjects for c in subject.projection.collections]
        done = 0
        async for batch in self.log.scan(connection, 0, through, collections):
            for event in batch:
                if event.kind == "commit" or event.removes_account:
                    buckets.put_event(event)
                    events += 1
            done = batch[-1].log_offset if batch else done
            self.report("reading the log", done, through)
        return events

    def _compare_all(
        self, buckets: _Buckets, verdicts: Sequence[Verdict], level: int
    ) -> Iterator[int]:
        """Compares bucket after bucket; yields how many records each had."""
        for bucket in range(buckets.rows.buckets):
            count = buckets.count(bucket)
            if count > 2 * BUCKET_RECORDS and level < LEVELS_MAX:
                finer = buckets.split(bucket)
                with closing(finer):
                    yield from self._compare_all(finer, verdicts, level + 1)
            elif count:
                self._compare(buckets, bucket, verdicts)
                yield count

    def _compare(self, buckets: _Buckets, bucket: int, verdicts: Sequence[Verdict]) -> None:
        found = _found(buckets.rows.read(bucket), len(verdicts))
        truths = Truths(self.subjects)
        truths.eat_all(Event(*values) for values in buckets.events.read(bucket))
        nothing = Found()
        for at, verdict in enumerate(verdicts):
            for did in {*truths.known(at), *found[at]}:
                verdict.add(did, truths.expected(at, did), found[at].get(did, nothing))


def _found(records: Iterator[tuple[Any, ...]], projections: int) -> list[defaultdict[str, Found]]:
    """What the tables hold, by projection and account."""
    found: list[defaultdict[str, Found]] = [defaultdict(Found) for _ in range(projections)]
    for did, at, part, uri, *cells in records:
        one = found[at][did]
        if part == ROW:
            one.rows[uri] = (uri, *cells)
        elif part == WAITING:
            one.waiting[uri] = (uri, *cells)
        elif part == LISTED:
            one.listed[uri] = tuple(cells)
        else:
            one.revs[uri] = cells[0]
    return found


def account_of(uri: str) -> tuple[str, str]:
    """The account and collection of an at-uri; empty where it has none."""
    did, _, path = uri.removeprefix("at://").partition("/")
    return (did, path.partition("/")[0]) if path else ("", "")


async def _rows_of(
    connection: asyncpg.Connection, query: str
) -> AsyncIterator[list[asyncpg.Record]]:
    """The rows of a query in batches, by a cursor."""
    cursor = await connection.cursor(query)
    while batch := await cursor.fetch(FETCH_ROWS):
        yield batch
