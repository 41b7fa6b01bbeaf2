"""Records that join an account to a subject: made, made twice, undone, and done again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from events.event import Event
from events.generate.accounts import Accounts
from events.generate.records import Records
from events.generate.stage import Stage

Edge = tuple[str, str, int, str]
"""A record that exists: its account, its key, the stage index of its making, and the JSON of its
record after `createdAt`."""

_SLOTS = 32_768
_SOON = 6  # bits: up to 64 events, an eighth of a second
_LATER = 11  # bits: up to 2,048 events, four seconds


class Live:
    """Some of the records that exist, at most 32,768, to be chosen from evenly at random."""

    def __init__(self, stage: Stage, accounts: Accounts) -> None:
        self._bits = stage.rng.getrandbits
        self._may_act = accounts.may_act
        self._edges: list[Edge] = []

    def add(self, edge: Edge) -> None:
        """Adds one; when full, in the place of another, which then is never chosen again."""
        if len(self._edges) < _SLOTS:
            self._edges.append(edge)
        else:
            self._edges[self._bits(15)] = edge

    def pick(self, take: bool = False) -> Edge | None:
        """One of them, whose account is there; None if a few tries found none. May take it out."""
        for _ in range(4):
            if not self._edges:
                return None
            at = (self._bits(24) * len(self._edges)) >> 24
            edge = self._edges[at]
            did, _, born, _ = edge
            there = self._may_act(did, born)
            if take or not there:
                last = self._edges.pop()
                if at < len(self._edges):
                    self._edges[at] = last
            if there:
                return edge
        return None


class Edges:
    """What happens to the records of one collection whose point is their subject.

    `choose` says who makes the next one, and about what: a DID, and the JSON that comes after
    `createdAt`.
    """

    def __init__(
        self,
        stage: Stage,
        accounts: Accounts,
        records: Records,
        collection: str,
        choose: Callable[[], tuple[str, str]],
    ) -> None:
        self.live = Live(stage, accounts)
        self._add = self.live.add
        self._stage = stage
        self._put = stage.put
        self._bits = stage.rng.getrandbits
        self._may_act = accounts.may_act
        self._time = records.time
        self._collection = collection
        self._choose = choose
        self._head = f'{{"$type":"{collection}","createdAt":"'

    def create(self, by: str = "") -> Event:
        """Makes one that lives until chance deletes it; by an account given, or any."""
        did, subject = self._choose()
        did = by or did
        event = self._put("create", did, self._collection, "", self._record(subject))
        self._add((did, event.rkey or "", self._stage.index, subject))
        return event

    def flash(self) -> Event:
        """Makes one that is deleted right afterwards."""
        event, edge = self._made(*self._choose())
        self._stage.plan(1 + self._bits(_SOON), partial(self._delete, edge))
        return event

    def double(self) -> Event:
        """Makes a second record with the subject of one that exists; of four, one gets more.

        Of all that share the subject two in five, in any order, are deleted soon: now the one
        that was first and counts, now one of the others.
        """
        first = self.live.pick(take=True)
        if first is None:
            return self.create()
        self._keep_or_delete(first)
        for _ in range(1 + self._bits(1) if self._bits(2) == 0 else 0):
            self._stage.plan(1 + self._bits(_LATER), partial(self._again, first))
        return self._again(first)

    def delete(self) -> Event:
        """Deletes one that exists; of seven, one is made anew later."""
        edge = self.live.pick(take=True)
        if edge is None:
            return self.create()
        if self._bits(10) < 150:
            self._stage.plan(1 + self._bits(_LATER), partial(self._again, edge))
        return self._delete(edge)

    def rewrite(self) -> Event:
        """Updates one that exists; it keeps its key, and its subject."""
        edge = self.live.pick()
        if edge is None:
            return self.create()
        did, rkey, _, subject = edge
        return self._put("update", did, self._collection, rkey, self._record(subject))

    def _made(self, did: str, subject: str) -> tuple[Event, Edge]:
        event = self._put("create", did, self._collection, "", self._record(subject))
        return event, (did, event.rkey or "", self._stage.index, subject)

    def _record(self, subject: str) -> str:
        return f'{self._head}{self._time(self._stage.now_us)}",{subject}}}'

    def _again(self, other: Edge) -> Event:
        did, _, _, subject = other
        if not self._may_act(did, self._stage.index):
            return self.create()
        event, edge = self._made(did, subject)
        self._keep_or_delete(edge)
        return event

    def _keep_or_delete(self, edge: Edge) -> None:
        if self._bits(10) < 400:
            self._stage.plan(1 + self._bits(_LATER), partial(self._delete, edge))
        else:
            self._add(edge)

    def _delete(self, edge: Edge) -> Event:
        did, rkey, born, _ = edge
        if not self._may_act(did, born):
            return self.create()
        return self._stage.delete(did, self._collection, rkey)
