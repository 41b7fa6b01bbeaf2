"""The lives of accounts: their events read from the log, a range at a time, into their truths."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import asyncpg

from events.event import Event
from events.history import WholeLog
from projector.counters import Watched
from projector.declare import Projection, Row
from projector.errors import CheckpointMoved
from projector.truth import AccountTruth

READ_OFFSETS: Final = 1_000_000
"""How many offsets are read at once, of which the accounts have few."""

REFUSED: Final = """
SELECT projection, log_offset FROM projector.dead_letter
WHERE stage = 'apply' AND projection = ANY($1::text[])
"""

Refusals = Mapping[str, set[int]]
"""By projection, the offsets of events that Postgres would not take."""


async def read_refused(
    connection: asyncpg.Connection, projections: Iterable[Projection]
) -> dict[str, set[int]]:
    """The events that Postgres refused when they were applied: they are dead letters."""
    refused: dict[str, set[int]] = {p.name: set() for p in projections}
    for name, offset in await connection.fetch(REFUSED, list(refused)):
        refused[name].add(offset)
    return refused


class Moved:
    """The keys of counters that events of a range of offsets moved, or should have moved."""

    def __init__(self, span: range, watched: Sequence[Watched]) -> None:
        self.span = span
        self.keys: dict[Watched, set[str]] = {w: set() for w in watched}

    def see(self, projection: Projection, rows: Iterable[Row | None]) -> None:
        """Notes the keys of rows that were there, or came, with an event."""
        watched = [
            (keys, w.count.keys_of())
            for w, keys in self.keys.items()
            if w.count.of.name == projection.name
        ]
        for row in rows:
            for keys, keys_of in watched:
                if row is not None:
                    keys.update(keys_of(row))


class Lives:
    """The truths of some accounts, for some projections, each up to an offset.

    `refused` is what was known to be refused when the events were read; see `reach`.
    """

    def __init__(
        self,
        projections: Sequence[Projection],
        dids: Iterable[str],
        refused: Refusals,
        moved: Moved | None = None,
    ) -> None:
        self.projections = projections
        self.dids = list(dict.fromkeys(dids))
        self.refused = refused
        self.moved = moved
        self.at = {p.name: 0 for p in projections}
        self.events: Tally[str] = Tally()
        self.truths = {
            p.name: {did: AccountTruth(p, refused=refused[p.name]) for did in self.dids}
            for p in projections
        }

    def only(self, dids: Sequence[str]) -> Lives:
        """Some of the accounts, to go on by themselves: these are not to be used any more."""
        some = Lives(self.projections, dids, self.refused, self.moved)
        some.at = dict(self.at)
        some.events = self.events
        some.truths = {
            name: {did: truths[did] for did in some.dids} for name, truths in self.truths.items()
        }
        return some

    async def reach(
        self,
        connection: asyncpg.Connection,
        log: WholeLog,
        checkpoints: Mapping[str, int],
        refused: Refusals,
    ) -> None:
        """Reads on up to the checkpoints; the connection may be within a transaction.

        Raises `CheckpointMoved` where what was read is void by now: a checkpoint was set back, or
        another event is known to be refused.
        """
        for name, at in self.at.items():
            # Of the set that the truths look into, so in its place.
            changed = refused[name] ^ self.refused[name]
            if checkpoints[name] < at or any(offset <= at for offset in changed):
                raise CheckpointMoved(name)
            self.refused[name].symmetric_difference_update(changed)
        after, through = min(self.at.values()), max(checkpoints.values())
        collections = [c for p in self.projections for c in p.collections]
        for start in range(after, through if self.dids else 0, READ_OFFSETS):
            end = min(start + READ_OFFSETS, through)
            for event in await log.of_accounts(connection, self.dids, start, end, collections):
                self._eat(event, checkpoints)
        self.at = {name: checkpoints[name] for name in self.at}

    def _eat(self, event: Event, checkpoints: Mapping[str, int]) -> None:
        self.events[event.did] += 1
        for projection in self.projections:
            name = projection.name
            if not self.at[name] < event.log_offset <= checkpoints[name]:
                continue
            truth = self.truths[name][event.did]
            if self.moved is None or event.log_offset not in self.moved.span:
                truth.eat(event)
            elif event.removes_account:
                self.moved.see(projection, [key.row for key in truth.keys.values()])
                truth.eat(event)
            elif event.collection in projection.collections:
                before = truth.keys.get(event.uri)
                truth.eat(event)
                after = truth.keys.get(event.uri)
                self.moved.see(projection, [key.row for key in (before, after) if key is not None])
