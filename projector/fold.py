"""Fold: a window's net effect per record. Pure; nothing here waits or touches a database."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeVar

import msgspec

from events.event import Event
from projector.declare import Children, InvalidRecord, Projection, Row
from projector.judging import Flags

BAD_RECORD: Final = (InvalidRecord, msgspec.MsgspecError, RecursionError, UnicodeError)
"""What decoding a bad record may raise."""

TID_CHARS: Final = 13
STEP_EVENTS: Final = 100
"""How many events are folded at once: under a millisecond."""

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work in small steps; what it returns is the result."""


@dataclass(frozen=True, slots=True)
class Window:
    """A range of offsets, above `after` up to `through`, and what in it concerns one projection.

    `commits` are the events of its collection, `removals` the account deletions and repo resets,
    both in the order of their offsets.
    """

    after: int
    through: int
    commits: Sequence[Event]
    removals: Sequence[Event]

    @property
    def events(self) -> int:
        """How many events the window holds for the projection."""
        return len(self.commits) + len(self.removals)

    def halves(self) -> tuple[Window, Window] | None:
        """The window in two, with about as many events in each; None where only one is left."""
        offsets = sorted(e.log_offset for part in (self.commits, self.removals) for e in part)
        if len(offsets) < 2:
            return None
        return self.cut(offsets[len(offsets) // 2 - 1])

    def cut(self, through: int) -> tuple[Window, Window]:
        """The window up to an offset, and the rest of it."""
        return self._part(self.after, through), self._part(through, self.through)

    def _part(self, after: int, through: int) -> Window:
        return Window(
            after,
            through,
            [e for e in self.commits if after < e.log_offset <= through],
            [e for e in self.removals if after < e.log_offset <= through],
        )


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter in the making: the event at `log_offset` and what is wrong with it."""

    log_offset: int
    stage: str
    reason: str
    error: str


class Touch(msgspec.Struct, frozen=True, gc=False):
    """An event of a window that may have an effect: what it makes of its record (None: nothing)."""

    log_offset: int
    uri: str
    row: Row | None
    is_create: bool


@dataclass(slots=True)
class Folded:
    """The net effect of a window, to be applied in this order.

    `removed_accounts`: accounts all of whose rows go. `gone`: at-uris whose row goes. `fresh`:
    rows of records of which the window has one create and nothing else; most are in no table yet.
    `rowless`: at-uris of such records that have no row; most are in no table either. `changed`:
    rows of all other records; most are in a table. No uri is in two of them. `revs` has the
    revision that each of these keys is at after the window, where it has a usable one.

    `buried`, where deleted records keep their rows: the time of deletion, and its revision, by
    at-uri; comes after all else that is said of the same record.

    `undecided` is the offset of an event whose effect hangs on what the tables make of events
    before it: the window cannot be applied as one, and must end before it.

    `touches`, where they are noted, are all events by at-uri, those before a removal as well; of
    the events of a record that is not removed the last is the one that decided. `decided` are
    values of `Projection.decided` by at-uri, and `judged` the rows of each of
    `Projection.judged_children`, found out after the folding.
    """

    removed_accounts: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    rowless: list[str] = field(default_factory=list)
    fresh: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    revs: dict[str, str] = field(default_factory=dict)
    buried: dict[str, Burial] = field(default_factory=dict)
    letters: list[Letter] = field(default_factory=list)
    undecided: int | None = None
    touches: dict[str, list[Touch]] = field(default_factory=dict)
    decided: dict[str, Flags] = field(default_factory=dict)
    judged: dict[str, tuple[Children | None, ...]] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be written to the projection's tables."""
        return not (
            self.removed_accounts
            or self.gone
            or self.rowless
            or self.fresh
            or self.changed
            or self.buried
        )


class Burial(NamedTuple):
    """When a record was deleted, and the revision that says so, where it is usable."""

    time: str
    rev: str | None


class _Net(msgspec.Struct, gc=False):
    """What a window has left of one record so far: its row, or None for a delete."""

    row: Row | None
    rev: str | None
    lone_create: bool


def usable_rev(rev: str | None) -> str | None:
    """The revision where it can be compared: a TID, whose order is that of its text."""
    return rev if rev is not None and len(rev) == TID_CHARS else None


def finished(steps: Steps[T]) -> T:
    """Does all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


class Folder:
    """Folds windows of one projection; `notes` says that their touches are wanted."""

    def __init__(self, projection: Projection, *, notes: bool = False) -> None:
        self.projection = projection
        self._notes = notes
        self._decode = projection.decoder()
        self._time = projection.table.time_at
        self._buries = projection.table.tombstone is not None
        self._width = len(projection.table.columns)

    def fold_beginning(self, window: Window) -> tuple[Window, Folded]:
        """The longest beginning of the window that can be applied as one, and its net effect.

        It is nearly always all of the window, and never less than one event.
        """
        return finished(self.beginning_steps(window))

    def beginning_steps(self, window: Window) -> Steps[tuple[Window, Folded]]:
        """Does what `fold_beginning` does in small steps, between which others may run."""
        folded = yield from self.steps(window)
        while folded.undecided is not None:
            window, _ = window.cut(folded.undecided - 1)
            folded = yield from self.steps(window)
        return window, folded

    def fold(self, window: Window) -> Folded:
        """Reduces a window to its net effect; the first column of every row is the at-uri.

        Of a record's events the one with the highest revision decides, so that a redelivered
        older event changes nothing (invariant 5). An invalid record becomes a letter and leaves
        what was there before. A removal undoes what the window had for the account before it.
        """
        return finished(self.steps(window))

    def steps(self, window: Window) -> Steps[Folded]:
        """Does what `fold` does in small steps."""
        removed_at = {event.did: event.log_offset for event in window.removals}
        nets: dict[str, _Net] = {}
        buried: dict[str, Burial] = {}
        letters: list[Letter] = []
        touches: dict[str, list[Touch]] = {}
        for done, event in enumerate(window.commits, 1):
            if not done % STEP_EVENTS:
                yield
            row = None
            if event.action != "delete":
                try:
                    row = self._decode(event)
                except BAD_RECORD as error:
                    letters.append(invalid(event, error))
                    continue
            uri = event.uri if row is None else row[0]
            known = nets.get(uri)
            rev = usable_rev(event.rev)
            if not removed_at or event.log_offset >= removed_at.get(event.did, 0):
                if self._buries and (grave := buried.get(uri)) is not None:
                    known = _Net(None, grave.rev, lone_create=False)
                    if event.action == "delete":
                        return Folded(undecided=event.log_offset)
                if known is not None and _is_undecided(known, event, rev):
                    return Folded(undecided=event.log_offset)
                if known is not None and self._is_repeat(known, event, row, rev):
                    continue
                if self._buries and event.action == "delete":
                    buried[uri] = Burial(event.indexed_at, rev)
                    continue
                buried.pop(uri, None)
                nets[uri] = _Net(row, rev, known is None and event.action == "create")
            if self._notes:
                touch = Touch(event.log_offset, uri, row, event.action == "create")
                touches.setdefault(uri, []).append(touch)
        folded = _folded(nets, sorted(removed_at))
        folded.buried = dict(sorted(buried.items()))
        folded.letters, folded.touches = letters, touches
        return folded

    def _is_repeat(self, known: _Net, event: Event, row: Row | None, rev: str | None) -> bool:
        if rev is not None and known.rev is not None:
            return rev <= known.rev
        if event.action != "create" or row is None or known.row is None:
            return False
        at, end = self._time, self._width
        return row[:at] == known.row[:at] and row[at + 1 : end] == known.row[at + 1 : end]


def _is_undecided(known: _Net, event: Event, rev: str | None) -> bool:
    """Whether the tables must have what came before, to know what the event does.

    What came before may be a repeat of what they had long ago, a delete as well, and then it does
    nothing: a create of a higher revision may find the same content there, and keeps it. That makes
    no difference to an update or a delete of a higher revision: it decides in any case.
    """
    if rev is None or known.rev is None:
        return rev is not known.rev
    if rev > known.rev:
        return event.action == "create"
    return rev < known.rev and known.lone_create


def _folded(nets: dict[str, _Net], removed: list[str]) -> Folded:
    # In the order of their keys: neighbours in the index are written together, and two
    # transactions that meet lock in the same order.
    folded = Folded(removed_accounts=removed)
    for uri in sorted(nets):
        net = nets[uri]
        if net.rev is not None:
            folded.revs[uri] = net.rev
        if net.row is None:
            (folded.rowless if net.lone_create else folded.gone).append(uri)
        elif net.lone_create:
            folded.fresh.append(net.row)
        else:
            folded.changed.append(net.row)
    return folded


def invalid(event: Event, error: BaseException) -> Letter:
    """The letter for a record that its lexicon, or JSON, refuses."""
    text = " ".join(str(error).split()) or type(error).__name__
    return Letter(event.log_offset, "validate", "invalid-record", text[:1000])
