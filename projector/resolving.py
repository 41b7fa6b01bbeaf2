"""Resolving as a source: what the network says of accounts' handles, as facts in the log.

It reads the log behind its own cursor, finds the accounts that are due by what their events and the
table of actors say, asks, and appends an event of kind `identity` and action `resolved` for each
that gave an answer. Projections fold these and never ask anybody (invariant 3).
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import asyncpg
import msgspec

from events.event import RESOLVED, Batch, Event, to_time_us
from events.log import read_head
from projector.database import Database, close_quietly, one_line, retrying
from projector.home import quoted
from projector.identity import PDS, Identity, Resolver
from projector.web import Unreachable

log = logging.getLogger(__name__)

NAME: Final = "resolver"
"""The source's name in the log."""
WINDOW_EVENTS: Final = 1_000
"""The offsets whose accounts are resolved before the cursor moves."""
REMEMBERED_MAX: Final = 100_000
"""Accounts of which it is remembered when they were asked for last."""
HOUR_US: Final = 3_600_000_000
DAY_US: Final = 24 * HOUR_US

# `erased` has no account any more. What was found already is no reason to ask again.
SEEN: Final = f"""
SELECT did, bool_or(kind = 'identity'), (extract(epoch FROM max(occurred_at)) * 1e6)::bigint
FROM projector.event_log
WHERE log_offset > $1 AND log_offset <= $2 AND kind IN ('commit', 'sync', 'identity')
    AND NOT (kind = 'identity' AND action = '{RESOLVED}')
GROUP BY did ORDER BY did
"""


def now_us() -> int:
    """The time, in microseconds since 1970."""
    return to_time_us(datetime.now(UTC))


@dataclass(slots=True)
class ResolverSource:
    """Facts about accounts that are due, as batches; see `Source`.

    An account is due when an identity event came, when it has no row in the table of actors, when
    its row is older than a day, or than an hour where it has no handle (times of events). Whoever
    was asked is not asked again for an hour, unless an identity event comes.
    """

    database: Database
    resolver: Resolver
    schema: str
    concurrency: int
    poll_seconds: float
    clock: Callable[[], int] = now_us
    name: str = NAME
    rewinds: bool = False
    _asked: OrderedDict[str, int] = field(default_factory=OrderedDict)
    _connection: asyncpg.Connection | None = None

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        """The facts, window by window; waits at the log's head, and never ends."""
        after = int(cursor or 0)
        try:
            while True:
                async for attempt in retrying(NAME):
                    with attempt:
                        through, due = await self._due(after)
                if through == after:
                    await asyncio.sleep(self.poll_seconds)
                    continue
                events = await self._resolve(due, str(through))
                after = through
                yield Batch(cursor=str(through), events=events)
        finally:
            await close_quietly(self._connection)
            self._connection = None

    async def committed(self, cursor: str) -> None:
        """Nobody upstream is to be told."""

    async def _due(self, after: int) -> tuple[int, list[str]]:
        """How far the next window goes, and the accounts that it makes due."""
        if self._connection is None or self._connection.is_closed():
            self._connection = await self.database.connect(NAME, enable_seqscan="off")
        connection = self._connection
        through = min(after + WINDOW_EVENTS, await read_head(connection))
        if through <= after:
            return after, []
        seen = await connection.fetch(SEEN, after, through)
        rows = await connection.fetch(
            f'SELECT did, handle, "indexedAt" FROM {quoted(self.schema)}.actor'
            " WHERE did = ANY($1::text[])",
            [did for did, _, _ in seen],
        )
        actors = {did: (handle, at) for did, handle, at in rows}
        return through, [
            did
            for did, named, time_us in seen
            if self._is_due(did, forced=named, time_us=time_us, actor=actors.get(did))
        ]

    def _is_due(
        self, did: str, *, forced: bool, time_us: int, actor: tuple[str | None, str] | None
    ) -> bool:
        if forced:
            return True
        asked = self._asked.get(did)
        if asked is not None and self.clock() - asked <= HOUR_US:
            return False
        if actor is None:
            return True
        handle, indexed_at = actor
        age_us = time_us - to_time_us(datetime.fromisoformat(indexed_at))
        return age_us > (DAY_US if handle is not None else HOUR_US)

    async def _resolve(self, dids: list[str], cursor: str) -> list[Event]:
        """The facts about these accounts; of one that could not be asked for there is none."""
        free = asyncio.Semaphore(self.concurrency)

        async def one(did: str) -> Event | None:
            async with free:
                try:
                    found = await self.resolver.identity_of(did)
                except Unreachable as error:
                    log.info("%s: not resolved: %s", did, one_line(error))
                    return None
            record = record_of(did, found)
            return Event(
                0, did, "identity", RESOLVED, None, None, None, None, record, self.clock(), cursor
            )

        found = await asyncio.gather(*map(one, dids))
        for did in dids:
            self._asked[did] = self.clock()
            self._asked.move_to_end(did)
        while len(self._asked) > REMEMBERED_MAX:
            self._asked.popitem(last=False)
        return [event for event in found if event is not None]


def record_of(did: str, found: Identity) -> bytes:
    """The fact as the log keeps it, in the form of an identity event; where the repo is, in that of
    a DID document."""
    fact: dict[str, object] = {"did": did, "handle": found.handle}
    if found.pds is not None:
        fact["didDoc"] = {"service": [{"type": PDS, "serviceEndpoint": found.pds}]}
    return msgspec.json.encode(fact)
