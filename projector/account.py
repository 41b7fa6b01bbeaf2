"""Tables of accounts: a window's events folded over what is known of their accounts.

What is known is read, folded on in memory, and what changed is written: three statements a window,
whatever it holds. The checkpoint's row lock keeps every other writer out meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from events.event import Event
from projector.apply import put_letters
from projector.committing import commit_window
from projector.declare import AccountProjection, State
from projector.fold import Folded
from projector.home import Home, listed, quoted
from projector.outbox import joined_cells
from projector.statements import split_cells
from projector.windows import Applied, Step


@dataclass(slots=True)
class AccountFacts(Folded):
    """The events of a window, to be folded over what is known by then."""

    events: Sequence[Event] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there are none."""
        return not self.events


@dataclass(slots=True)
class Known:
    """The states of some accounts, folded on: which are others now, which claims were made."""

    projection: AccountProjection
    states: dict[str, State | None]
    changed: set[str] = field(default_factory=set)
    claimed: set[str] = field(default_factory=set)
    _holders: dict[str, str] = field(init=False)
    _claim_at: int | None = field(init=False)

    def __post_init__(self) -> None:
        claim = self.projection.claim
        self._claim_at = None if claim is None else self.projection.columns.index(claim) - 1
        self._holders = {}
        for did, state in self.states.items():
            if (value := self._claim(state)) is not None:
                self._holders[value] = did

    def _claim(self, state: State | None) -> str | None:
        at = self._claim_at
        return None if state is None or at is None else state[at]

    def fold(self, events: Sequence[Event]) -> None:
        """Folds events, in their order."""
        fold, states = self.projection.fold, self.states
        for event in events:
            did = event.did
            before = states.get(did)
            removed = event.kind == "account" and event.action == "deleted"
            after = None if removed else fold(before, event)
            if after is before:
                continue
            states[did] = after
            self.changed.add(did)
            if self._claim_at is not None:
                self._reclaim(did, self._claim(before), self._claim(after))

    def _reclaim(self, did: str, before: str | None, after: str | None) -> None:
        if before == after:
            return
        if before is not None:
            self._holders.pop(before, None)
        if after is None:
            return
        self.claimed.add(after)
        holder = self._holders.get(after)
        if holder is not None:
            self.states[holder] = self._without_claim(self.states[holder])
            self.changed.add(holder)
        self._holders[after] = did

    def _without_claim(self, state: State | None) -> State:
        at = self._claim_at
        assert state is not None and at is not None
        return (*state[:at], None, *state[at + 1 :])


class AccountWriter:
    """Applies windows of one projection of accounts."""

    def __init__(self, projection: AccountProjection, home: Home) -> None:
        self.projection = projection
        self.home = home
        columns = projection.columns
        table, key = f"{quoted(home.schema)}.{quoted(projection.table)}", quoted(projection.key)
        arrays = ", ".join(split_cells(i, 1, 2) for i in range(3, len(columns) + 3))
        put = ", ".join(f"{quoted(c)} = excluded.{quoted(c)}" for c in columns[1:])
        self.read = f"SELECT {listed(columns)} FROM {table} WHERE {key} = ANY($1::text[])"
        self.remove = f"DELETE FROM {table} WHERE {key} = ANY($1::text[])"
        self.put = (
            f"INSERT INTO {table} ({listed(columns)}) SELECT * FROM unnest({arrays})"
            f" ON CONFLICT ({key}) DO UPDATE SET {put}"
        )
        claim = quoted(projection.claim or "")
        self.release = f"UPDATE {table} SET {claim} = NULL WHERE {claim} = ANY($1::text[])"

    async def apply(
        self, connection: asyncpg.Connection, step: Step, folded: AccountFacts
    ) -> Applied:
        """Applies a window; when it returns all of it is committed, else nothing is.

        Raises `CheckpointMoved` when the checkpoint is not at `step.after` (invariant 2).
        """
        return await commit_window(
            connection, self.home.name, self.projection.version, step,
            lambda _: self._write(connection, folded),
        )  # fmt: skip

    async def begin_anew(
        self, connection: asyncpg.Connection, did: str, events: Sequence[Event]
    ) -> None:
        """Leaves of an account what these events of it say; within a transaction of the caller's,
        who holds the checkpoint."""
        await connection.execute(self.remove, [did])
        await self._write(connection, AccountFacts(events=events))

    async def _write(self, connection: asyncpg.Connection, folded: AccountFacts) -> Applied:
        await put_letters(connection, self.home.name, folded.letters)
        if folded.is_empty:
            return Applied(0, 0, 0)
        dids = sorted({event.did for event in folded.events})
        states: dict[str, State | None] = dict.fromkeys(dids)
        for did, *cells in await connection.fetch(self.read, dids):
            states[did] = tuple(cells)
        known = Known(self.projection, states)
        known.fold(folded.events)
        return await self._put(connection, known)

    async def _put(self, connection: asyncpg.Connection, known: Known) -> Applied:
        if known.claimed:
            # Of all that hold one, those of the window as well: two may change places.
            await connection.execute(self.release, sorted(known.claimed))
        # In the order in which they were asked for, which is that of the keys.
        changed = [(did, state) for did, state in known.states.items() if did in known.changed]
        gone = [did for did, state in changed if state is None]
        rows = [(did, *state) for did, state in changed if state is not None]
        if gone:
            await connection.execute(self.remove, gone)
        if rows:
            texts, separator, none = joined_cells(list(zip(*rows, strict=True)))
            await connection.execute(self.put, separator, none, *texts)
        return Applied(len(rows), len(gone), 0)
