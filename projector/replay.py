"""Replay: all that a range of the log touches is put right, by the whole lives of its accounts."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.event import Event
from projector.counters import Keys, Watched
from projector.declare import Projection
from projector.fold import BAD_RECORD, Letter, invalid
from projector.lives import Moved
from projector.mend import Buried, Mender, Patch

ACCOUNTS_MAX: Final = 1_000
"""How many accounts are looked at together."""
MENDED_ACCOUNTS_MAX: Final = 100
MENDED_CHANGES_MAX: Final = 20_000
"""How many accounts, and changes of them, are mended in one transaction; at least one account."""
SEEN_MAX: Final = 1_000_000
"""How many accounts, and keys, are remembered so as not to look at them again."""

LETTERS: Final = """
SELECT log_offset FROM projector.dead_letter
WHERE projection = $1 AND log_offset = ANY($2::bigint[])
"""


class Replay:
    """Puts one projection right for the events of a range of offsets.

    An account that the range touches is compared over its whole life up to the checkpoint, so a
    record that was deleted after the range does not come back. What is right is not written.
    """

    def __init__(self, mender: Mender, projection: Projection, span: range) -> None:
        self.mender = mender
        self.projection = projection
        self.span = span
        self.accounts = 0
        self.events = 0
        self._decode = projection.decoder()
        self._seen: set[str] = set()
        self._seen_keys: dict[Watched, set[str]] = {w: set() for w in mender.watched}

    async def run(
        self, connection: asyncpg.Connection, show: Callable[[int], None] = lambda _: None
    ) -> AsyncIterator[Patch]:
        """Yields what was done, a transaction at a time; `show` is told the offset reached."""
        dids: dict[str, None] = {}
        letters: list[Letter] = []
        at, last = self.span.start - 1, self.span.stop - 1
        scan = self.mender.log.scan(connection, at, last, self.projection.collections)
        async for events in scan:
            for event in events:
                self._take(event, dids, letters)
            at = events[-1].log_offset if events else at
            if len(dids) >= ACCOUNTS_MAX or len(letters) >= MENDED_CHANGES_MAX:
                async for patch in self._settle(connection, list(dids), letters):
                    yield patch
                dids, letters = {}, []
            show(at)
        async for patch in self._settle(connection, list(dids), letters):
            yield patch
        show(last)

    def _take(self, event: Event, dids: dict[str, None], letters: list[Letter]) -> None:
        is_commit = event.kind == "commit"
        if not is_commit and not event.removes_account:
            return
        self.events += 1
        if event.did not in self._seen:
            dids[event.did] = None
        if is_commit and event.action != "delete":
            try:
                self._decode(event)
            except BAD_RECORD as error:
                letters.append(invalid(event, error))

    async def _settle(
        self, connection: asyncpg.Connection, dids: list[str], letters: list[Letter]
    ) -> AsyncIterator[Patch]:
        if letters and (buried := await self._bury(connection, letters)):
            yield _letters_only(buried)
        if not dids:
            return
        self.accounts += len(dids)
        if len(self._seen) >= SEEN_MAX:
            self._seen.clear()
        self._seen.update(dids)
        moved = Moved(self.span, self.mender.watched)
        lives = await self.mender.lives(connection, dids, moved)
        keys = self._new_keys(moved)
        found = await self.mender.look(connection, lives, keys)
        for part in _portions(found, lives.dids):
            yield await self.mender.mend(connection, lives.only(part))
        wrong = _keys_of(found, self.mender.watched)
        if any(wrong.values()):
            # Those that the rows' moves have not put right already.
            patch = await self.mender.mend(
                connection, await self.mender.lives(connection, ()), wrong
            )
            if patch.differences:
                yield patch

    def _new_keys(self, moved: Moved) -> Keys:
        new = {}
        for watched, keys in moved.keys.items():
            seen = self._seen_keys[watched]
            new[watched] = keys - seen
            if len(seen) >= SEEN_MAX:
                seen.clear()
            seen |= keys
        return new

    async def _bury(self, connection: asyncpg.Connection, letters: list[Letter]) -> list[Buried]:
        """Puts the dead letters that are not there; returns them."""
        name = self.projection.name
        offsets = [letter.log_offset for letter in letters]
        there = {row[0] for row in await connection.fetch(LETTERS, name, offsets)}
        missing = [letter for letter in letters if letter.log_offset not in there]
        if missing:
            async with connection.transaction():
                await self.mender.writers[name].put_letters(connection, missing)
                # Rolled back by Postgres; the next replay puts them.
                crash_point("replay-letters-written")
            # Done; the next replay finds them there.
            crash_point("replay-letters-committed")
        return [Buried(projection=name, log_offset=x.log_offset, error=x.error) for x in missing]


def _letters_only(buried: list[Buried]) -> Patch:
    return Patch(accounts=[], events=0, as_of={}, changes=[], counters=[], letters=buried)


def _portions(found: Patch, dids: Iterable[str]) -> Iterator[list[str]]:
    """Those of the accounts that are to be mended, so many in each transaction."""
    changes = Tally(change.did for change in found.changes)
    part: list[str] = []
    size = 0
    for did in dids:
        if not (n := changes[did]):
            continue
        if part and (len(part) >= MENDED_ACCOUNTS_MAX or size + n > MENDED_CHANGES_MAX):
            yield part
            part, size = [], 0
        part.append(did)
        size += n
    if part:
        yield part


def _keys_of(found: Patch, watched: list[Watched]) -> Keys:
    return {
        w: [c.key for c in found.counters if (c.aggregate, c.counter) == (w.aggregate.name, w.name)]
        for w in watched
    }
