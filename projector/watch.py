"""One counter's key, watched while the log of an account goes by: which event moved it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from events.event import Event
from projector.declare import Aggregate, Count, Declaration, Projection, Row
from projector.errors import UsageError
from projector.fold import BAD_RECORD
from projector.truth import AccountTruth

Claim = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class CounterOf:
    """A counter with the aggregate that keeps it."""

    aggregate: Aggregate
    name: str
    count: Count

    @property
    def projection(self) -> Projection:
        """Whose rows are counted."""
        return self.count.of

    @property
    def of_owner(self) -> bool:
        """Whether rows are counted for the account that wrote them."""
        return self.count.child is None and self.count.by == "creator"

    @property
    def full_name(self) -> str:
        """The name that no other counter has."""
        return f"{self.aggregate.name}.{self.name}"


def find_counter(text: str, declarations: Sequence[Declaration]) -> CounterOf:
    """The counter named `COUNTER` or `AGGREGATE.COUNTER`. Raises `UsageError`."""
    counters = [
        CounterOf(aggregate, name, count)
        for aggregate in declarations
        if isinstance(aggregate, Aggregate)
        for name, count in aggregate.counters.items()
    ]
    found = [c for c in counters if text in (c.name, c.full_name)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(c.full_name for c in found or counters)
    if found:
        raise UsageError(f"{text} is the name of several counters; write one of: {names}")
    raise UsageError(f"no counter is named {text}; there are: {names}")


class Movement(msgspec.Struct, frozen=True, kw_only=True):
    """An event that moved a counter: where and when, who, what, and by how much.

    `uri` is the record that the event is about, None for the removal of an account. What is counted
    may be another record: one that took the place of a duplicate.
    """

    log_offset: int
    occurred_at: datetime
    did: str
    kind: str
    action: str
    uri: str | None
    change: int


class Watch:
    """Eats the events of one account, in the order of the log, and notes what moves one key.

    `only` are the at-uris to look at, None for all of the account; of other records nothing is
    known, and `strayed` says whether a record looked at ever counted for another key, so that
    those others may have had a say in it. `counted` has the uris of the rows that count for the key
    by now, and `changed_at` of each uri the offset at which it last began or ceased to; those of
    `uncounted` never do. `repeats` is how many events said nothing new.
    """

    def __init__(
        self,
        counter: CounterOf,
        key: str,
        *,
        only: Collection[str] | None = None,
        refused: Collection[int] = (),
        uncounted: Collection[str] = (),
        decode: Callable[[Event], Row | None] | None = None,
    ) -> None:
        self._uncounted = uncounted
        self.only = only
        self.movements: list[Movement] = []
        self.counted: set[str] = set()
        self.changed_at: dict[str, int] = {}
        self.strayed = False
        self.repeats = 0
        self._collections = counter.projection.collections
        self._refused = refused
        self._truth = AccountTruth(counter.projection, refused=refused, decode=decode)
        table = counter.projection.table
        self._key = key
        self._keys_of = counter.count.keys_of()
        self._at = table.time_at
        self._claim_at = [table.columns.index(c) for c in table.unique or ("uri",)]
        self._groups: dict[Claim, dict[str, Row]] = {}

    def eat_all(self, events: Iterable[Event]) -> Watch:
        """Takes many; returns itself."""
        for event in events:
            self.eat(event)
        return self

    def eat(self, event: Event) -> None:
        """Takes the next event; those of other collections, and not of `only`, change nothing."""
        if event.removes_account:
            self._remove(event)
        elif (
            event.kind == "commit"
            and event.collection in self._collections
            and (self.only is None or event.uri in self.only)
        ):
            self._commit(event)

    def row_of(self, uri: str) -> tuple[Row, bool] | None:
        """The record's row by now, and whether the table has it or it waits; None without one."""
        key = self._truth.keys.get(uri)
        if key is None or key.row is None:
            return None
        return key.row, self._first(self._groups[self._claim(key.row)]) == uri

    def _remove(self, event: Event) -> None:
        self._truth.eat(event)
        self._groups.clear()
        self.changed_at.update(dict.fromkeys(self.counted, event.log_offset))
        self._note(event, None, -len(self.counted))
        self.counted.clear()

    def _commit(self, event: Event) -> None:
        uri = event.uri
        before = self._truth.keys.get(uri)
        self._truth.eat(event)
        after = self._truth.keys.get(uri)
        if after is before or after is None:
            self.repeats += self._is_repeat(event)
            return
        old, new = before.row if before else None, after.row
        if new is not None and any(key != self._key for key in self._keys_of(new)):
            self.strayed = True
        claims = dict.fromkeys(self._claim(row) for row in (old, new) if row is not None)
        change = sum([self._put(claim, uri, new, event.log_offset) for claim in claims])
        self._note(event, uri, change)

    def _put(self, claim: Claim, uri: str, row: Row | None, log_offset: int) -> int:
        """Puts a row where its claim is, takes it from where it is not; by how much that counts."""
        group = self._groups.setdefault(claim, {})
        before = self._counts(group)
        group.pop(uri, None)
        if row is not None and self._claim(row) == claim:
            group[uri] = row
        after = self._counts(group)
        if not group:
            del self._groups[claim]
        if before != after:
            for changed in (before, after):
                if changed is not None:
                    self.changed_at[changed] = log_offset
            self.counted.discard(before or "")
            if after is not None:
                self.counted.add(after)
        return (after is not None) - (before is not None)

    def _counts(self, group: dict[str, Row]) -> str | None:
        """The uri of the group's row, where that counts for the key."""
        uri = self._first(group)
        if uri is None or uri in self._uncounted:
            return None
        return uri if self._key in self._keys_of(group[uri]) else None

    def _first(self, group: dict[str, Row]) -> str | None:
        return min(group, key=lambda uri: (str(group[uri][self._at]), uri), default=None)

    def _claim(self, row: Row) -> Claim:
        return tuple([row[i] for i in self._claim_at])

    def _note(self, event: Event, uri: str | None, change: int) -> None:
        if change:
            self.movements.append(
                Movement(
                    log_offset=event.log_offset, occurred_at=event.occurred_at, did=event.did,
                    kind=event.kind, action=event.action, uri=uri, change=change,
                )
            )  # fmt: skip

    def _is_repeat(self, event: Event) -> bool:
        """Whether an event that changed nothing was a good one; the others are dead letters."""
        try:
            self._truth.row_of(event)
        except BAD_RECORD:
            return False
        return event.log_offset not in self._refused
