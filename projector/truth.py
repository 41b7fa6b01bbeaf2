"""The truth about one account: its events, one after the other, into what the tables must hold.

Written apart from the path that applies windows, so that each proves the other: no windows, no
SQL, nothing looked up ahead. Shared with it is only how a projection makes a row of a record. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

import msgspec

from events.event import Event
from projector.declare import Projection, Row
from projector.fold import BAD_RECORD, usable_rev


class Key(msgspec.Struct, gc=False):
    """A record key: its row (None: deleted), the event that decided, and the revisions noted.

    Of its later events those up to the revision `floor` are repeats. `must` says that the engine
    has noted it. Of a key that was created and never touched it `may` have noted the revision:
    that depends on what it found taken when it looked, and so on how windows fell.
    """

    row: Row | None
    log_offset: int
    floor: str | None
    must: bool
    may: str | None


@dataclass(slots=True)
class Expected:
    """What the tables must hold of one account, by at-uri.

    `rows` are those of the projection's table, `waiting` those of its shelf of duplicates, `listed`
    the (cid, duplicateOf, indexedAt) of the list of duplicates. `revs` are revisions that must be
    noted, `revs_maybe` such that may be. `decided` has the offset of the event by which each key is
    what it is, and `settled` that of the last event that had a say in where it is shown, which may
    be of another key with the same claim. `removed` is the offset of the account's last removal.
    """

    rows: dict[str, Row] = field(default_factory=dict)
    waiting: dict[str, Row] = field(default_factory=dict)
    listed: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    revs: dict[str, str] = field(default_factory=dict)
    revs_maybe: dict[str, str] = field(default_factory=dict)
    decided: dict[str, int] = field(default_factory=dict)
    settled: dict[str, int] = field(default_factory=dict)
    removed: int | None = None


class AccountTruth:
    """Eats the events of one account, in the order of the log, for one projection.

    `refused` are the offsets of events that Postgres would not take, known by their dead letters.
    The rules are those of invariant 5: of a record's events the one with the highest revision
    decides; a create with the content that is there is a repeat; a removal forgets all.
    """

    def __init__(
        self,
        projection: Projection,
        *,
        refused: Collection[int] = (),
        decode: Callable[[Event], Row | None] | None = None,
    ) -> None:
        self.projection = projection
        table = projection.table
        self.keys: dict[str, Key] = {}
        self._collections = projection.collections
        self._refused = refused
        self._decode = decode or projection.decoder()
        self._at = table.time_at
        self._tombstone = table.columns.index(table.tombstone) if table.tombstone else None
        self._width = len(table.columns)
        self._cid = table.columns.index("cid") if "cid" in table.columns else 0
        self._claim_at = [table.columns.index(column) for column in table.unique or ()]
        self._claims: defaultdict[tuple[object, ...], set[str]] = defaultdict(set)
        self._touched: dict[tuple[object, ...], int] = {}
        self._removed: int | None = None

    def eat(self, event: Event) -> None:
        """Takes the next event; those of other collections change nothing."""
        if event.removes_account:
            self.keys.clear()
            self._claims.clear()
            self._touched.clear()
            self._removed = event.log_offset
        elif event.kind == "commit" and event.collection in self._collections:
            self._eat_commit(event)

    def eat_all(self, events: Iterable[Event]) -> AccountTruth:
        """Takes many; returns itself."""
        for event in events:
            self.eat(event)
        return self

    def row_of(self, event: Event) -> Row | None:
        """The row that the event makes; None for a delete. Raises what `BAD_RECORD` has."""
        return None if event.action == "delete" else self._decode(event)

    def _eat_commit(self, event: Event) -> None:
        if event.log_offset in self._refused:
            return
        try:
            row = self.row_of(event)
        except BAD_RECORD:
            return
        uri = event.uri if row is None else str(row[0])
        known, rev = self.keys.get(uri), usable_rev(event.rev)
        if known is None:
            self._put(uri, self._first(event, row, rev))
        elif known.row is None and known.floor is None:
            # Deleted by an event without a revision, it left nothing to know it by, or what may
            # have been noted before.
            first = self._first(event, row, rev)
            first.may = first.may if rev is not None else known.may
            self._put(uri, first)
        elif not self._is_repeat(known, event, row, rev):
            self._put(uri, self._next(known, event, row, rev))

    def _first(self, event: Event, row: Row | None, rev: str | None) -> Key:
        """The key of which nothing was known. Of a lone create no revision is noted, unless its
        claim was taken."""
        if event.action != "create":
            return Key(row, event.log_offset, rev, rev is not None, None)
        claimed = row is not None and self._is_claimed(row)
        return Key(row, event.log_offset, rev if claimed else None, False, rev)

    def _next(self, known: Key, event: Event, row: Row | None, rev: str | None) -> Key:
        """What a key becomes of which something was known, by an event that is no repeat."""
        if event.action == "delete" and self._tombstone is not None:
            row = self._buried(known.row, event.indexed_at, self._tombstone)
        if rev is not None:
            return Key(row, event.log_offset, rev, True, None)
        # An event without a usable revision leaves the one that was noted.
        return Key(row, event.log_offset, known.floor, known.must, known.may)

    def _buried(self, row: Row | None, time: str, at: int) -> Row | None:
        """The row that stays of a record that was deleted: the first time counts."""
        if row is None or row[at] is not None:
            return row
        return (*row[:at], time, *row[at + 1 :])

    def _is_repeat(self, known: Key, event: Event, row: Row | None, rev: str | None) -> bool:
        if known.floor is not None and rev is not None and rev <= known.floor:
            return True
        return event.action == "create" and self._same(known.row, row)

    def _same(self, one: Row | None, other: Row | None) -> bool:
        if one is None or other is None:
            return False
        at, end = self._at, self._width
        return one[:at] == other[:at] and one[at + 1 : end] == other[at + 1 : end]

    def _claim(self, row: Row) -> tuple[object, ...]:
        return tuple([row[i] for i in self._claim_at])

    def _is_claimed(self, row: Row) -> bool:
        return bool(self._claim_at) and bool(self._claims.get(self._claim(row)))

    def _put(self, uri: str, key: Key) -> None:
        if self._claim_at:
            before = self.keys.get(uri)
            if before is not None and before.row is not None:
                claim = self._claim(before.row)
                self._claims[claim].discard(uri)
                self._touched[claim] = key.log_offset
            if key.row is not None:
                claim = self._claim(key.row)
                self._claims[claim].add(uri)
                self._touched[claim] = key.log_offset
        self.keys[uri] = key

    def expected(self) -> Expected:
        """What the tables must hold after the events eaten so far."""
        found = Expected(removed=self._removed)
        for uri, key in self.keys.items():
            found.decided[uri] = key.log_offset
            if key.must and key.floor is not None:
                found.revs[uri] = key.floor
            elif key.may is not None:
                found.revs_maybe[uri] = key.may
            if key.row is not None and not self._claim_at:
                found.rows[uri] = key.row
        found.settled.update(found.decided)
        for claim, uris in self._claims.items():
            if uris:
                found.settled.update(dict.fromkeys(uris, self._touched[claim]))
                self._settle(uris, found)
        return found

    def _settle(self, uris: Collection[str], found: Expected) -> None:
        """Of live records with one claim the smallest (indexedAt, uri) has the row."""
        rows = {uri: key.row for uri in uris if (key := self.keys[uri]).row is not None}
        winner = min(rows, key=lambda uri: (str(rows[uri][self._at]), uri))
        for uri, row in rows.items():
            if uri == winner:
                found.rows[uri] = row
            else:
                found.waiting[uri] = row
                found.listed[uri] = (str(row[self._cid]), winner, str(row[self._at]))
