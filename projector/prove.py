"""Proof: the tables of projections against the log, for some accounts or for all."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from events.event import Event
from events.history import WholeLog
from events.log import read_head
from projector.declare import Projection, Row
from projector.differences import Difference, Found, differences, read_accounts
from projector.home import Home
from projector.snapshots import snapshot, tables_of
from projector.statements import live
from projector.truth import AccountTruth, Expected

DIFFERENCES_MAX: Final = 100_000
"""The most differences that a proof keeps of one projection; the rest are counted."""

SUSPECTS_MAX: Final = 200
"""Of how many accounts that differ a proof keeps what the tables hold, to find out why."""

MARKS_MAX: Final = 16_000_000
"""The most bytes for marking the offsets of a log."""

SUSPECT_KEYS_MAX: Final = 2_000
"""Accounts with more keys than this are none of those."""

CHECKPOINTS: Final = "SELECT projection, version, log_offset FROM projector.checkpoint"
REFUSED: Final = """
SELECT log_offset FROM projector.dead_letter WHERE projection = $1 AND stage = 'apply'
"""


@dataclass(frozen=True, slots=True)
class Subject:
    """A projection as of one snapshot: its home, its checkpoint, the events Postgres refused."""

    projection: Projection
    home: Home
    through: int
    refused: Collection[int]
    decode: Callable[[Event], Row | None]

    def truth(self) -> AccountTruth:
        """The truth of one more account."""
        return AccountTruth(self.projection, refused=self.refused, decode=self.decode)


@dataclass(frozen=True, slots=True)
class Suspect:
    """What the tables held of an account that differs, with the projection applied `through`."""

    found: Found
    through: int


class Marks:
    """Which offsets were marked, from 1 to a last one; of a long log only to within a few."""

    def __init__(self, through: int) -> None:
        self.grain = through // MARKS_MAX + 1
        self._marks = bytearray(through // self.grain + 1)

    def mark(self, offset: int) -> None:
        """Marks an offset."""
        self._marks[offset // self.grain] = 1

    def add(self, other: Marks) -> None:
        """Marks what the other has marked, which may reach further."""
        if self.grain != other.grain or len(other._marks) > len(self._marks):
            wider = Marks(max(len(m._marks) * m.grain for m in (self, other)))
            for marks in (self, other):
                for place, marked in enumerate(marks._marks):
                    if marked:
                        wider.mark(place * marks.grain)
            self.grain, self._marks = wider.grain, wider._marks
            return
        for place, marked in enumerate(other._marks):
            if marked:
                self._marks[place] = 1

    def any(self, first: int, last: int) -> bool:
        """Whether an offset is marked from the first to the last, as far as is known."""
        inner = slice(-(-first // self.grain), last // self.grain + (self.grain == 1))
        return 1 in self._marks[inner]


@dataclass(slots=True)
class Verdict:
    """What a proof found of one projection.

    `right` marks the offsets of events that had a say in keys that are right. `suspects` has what
    the tables hold of the first accounts that differ.
    """

    subject: Subject
    accounts: int = 0
    keys: int = 0
    differences: list[Difference] = field(default_factory=list)
    count: int = 0
    suspects: dict[str, Suspect] = field(default_factory=dict)
    right: Marks = field(init=False)

    def __post_init__(self) -> None:
        self.right = Marks(self.subject.through)

    def add(self, did: str, expected: Expected, found: Found) -> None:
        """Compares what the tables hold of one account with what they must hold."""
        self.accounts += 1
        self.keys += len(expected.rows) + len(expected.waiting)
        wrong = list(differences(self.subject.projection, did, expected, found))
        self.count += len(wrong)
        self.differences += wrong[: max(DIFFERENCES_MAX - len(self.differences), 0)]
        self._note_right(expected, {d.uri for d in wrong})
        if wrong and len(self.suspects) < SUSPECTS_MAX and _is_small(expected, found):
            self.suspects[did] = Suspect(found, self.subject.through)

    def _note_right(self, expected: Expected, wrong: set[str]) -> None:
        mark, settled = self.right.mark, expected.settled
        for uris in (expected.rows, expected.waiting, expected.revs):
            for uri in uris:
                if uri not in wrong:
                    mark(settled[uri])


def _is_small(expected: Expected, found: Found) -> bool:
    keys = len(expected.decided) + len(found.rows) + len(found.waiting) + len(found.revs)
    return keys <= SUSPECT_KEYS_MAX


class Truths:
    """What many accounts must be, for several projections: eats the log's events in order."""

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = subjects
        self._by_collection: defaultdict[str | None, list[int]] = defaultdict(list)
        for at, subject in enumerate(subjects):
            for collection in subject.projection.collections:
                self._by_collection[collection].append(at)
        self._truths: list[dict[str, AccountTruth]] = [{} for _ in subjects]

    def eat(self, event: Event) -> None:
        """Takes the next event, for each projection that has applied it."""
        everywhere = event.removes_account
        places = range(len(self.subjects)) if everywhere else self._by_collection[event.collection]
        for at in places:
            if event.log_offset <= self.subjects[at].through:
                truth = self._truths[at].get(event.did)
                if truth is None:
                    truth = self._truths[at][event.did] = self.subjects[at].truth()
                truth.eat(event)

    def eat_all(self, events: Iterable[Event]) -> Truths:
        """Takes many; returns itself."""
        for event in events:
            self.eat(event)
        return self

    def known(self, at: int) -> Iterable[str]:
        """The accounts that had an event for one of the projections."""
        return self._truths[at]

    def expected(self, at: int, did: str) -> Expected:
        """What an account must be in one of the projections."""
        truth = self._truths[at].get(did)
        return Expected() if truth is None else truth.expected()


async def read_subjects(
    connection: asyncpg.Connection, projections: Sequence[Projection], schema: str
) -> list[Subject]:
    """The projections as of this snapshot; those of another version than ours are left out."""
    rows = {row[0]: row[1:] for row in await connection.fetch(CHECKPOINTS)}
    subjects = []
    for projection in projections:
        version, through = rows.get(projection.name, (None, 0))
        if version == projection.version:
            refused = {row[0] for row in await connection.fetch(REFUSED, projection.name)}
            home = live(projection, schema)
            subjects.append(Subject(projection, home, through, refused, projection.decoder()))
    return subjects


async def prove_accounts(
    connection: asyncpg.Connection,
    log: WholeLog,
    projections: Sequence[Projection],
    schema: str,
    dids: Sequence[str],
) -> list[Verdict]:
    """Compares accounts, in one snapshot of the tables; the log before it never changes."""
    async with snapshot(connection, tables_of(projections, schema)):
        subjects = await read_subjects(connection, projections, schema)
        found = [await read_accounts(connection, s.projection, s.home, dids) for s in subjects]
    through = max((subject.through for subject in subjects), default=0)
    collections = [c for projection in projections for c in projection.collections]
    events = await log.of_accounts(connection, dids, 0, through, collections)
    truths = Truths(subjects).eat_all(events)
    verdicts = [Verdict(subject) for subject in subjects]
    for at, verdict in enumerate(verdicts):
        for did in dids:
            verdict.add(did, truths.expected(at, did), found[at][did])
    return verdicts


def merged(batches: Iterable[Sequence[Verdict]]) -> list[Verdict]:
    """The verdicts of several batches of accounts as one for each projection."""
    whole: dict[str, Verdict] = {}
    for verdict in (verdict for batch in batches for verdict in batch):
        name = verdict.subject.projection.name
        one = whole.setdefault(name, Verdict(verdict.subject))
        one.accounts += verdict.accounts
        one.keys += verdict.keys
        one.count += verdict.count
        one.differences += verdict.differences[: max(DIFFERENCES_MAX - len(one.differences), 0)]
        one.right.add(verdict.right)
        room = SUSPECTS_MAX - len(one.suspects)
        one.suspects.update(list(verdict.suspects.items())[: max(room, 0)])
    return list(whole.values())


async def sample(
    connection: asyncpg.Connection, log: WholeLog, accounts: int, seed: int
) -> list[str]:
    """So many accounts at most, those of events at random offsets; the same for the same seed."""
    head = await read_head(connection)
    # Of few accounts many events hit the same: so often is tried, and no more.
    offsets = random.Random(seed).sample(range(1, head + 1), min(head, accounts * 4))
    found: dict[str, None] = {}
    for offset in offsets:
        if len(found) >= accounts:
            break
        for event in await log.read(connection, offset - 1, offset):
            if event.kind == "commit" or event.removes_account:
                found[event.did] = None
    return sorted(found)


def batches_of(dids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The accounts, so many at a time."""
    for begin in range(0, len(dids), size):
        yield dids[begin : begin + size]
