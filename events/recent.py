"""The window of recently appended events, by which a source's rewinds stay out of the log."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

import asyncpg

from events.event import Event
from events.rows import EVENT, fetch_events

TAIL: Final = f"""
SELECT {EVENT} FROM projector.event_log WHERE log_offset > $1 ORDER BY log_offset
"""


def event_key(event: Event) -> Hashable:
    """What makes two events the same fact: for a commit its repo's revision, path and content.

    A commit without a revision, and everything else, is the same only when its content and time
    are.
    """
    if event.kind == "commit" and event.rev:
        # One text takes half the memory of its parts. None of them has a NUL: decoders refuse it.
        collection, rkey, cid = event.collection or "", event.rkey or "", event.cid or ""
        return "\0".join((event.did, event.rev, collection, rkey, event.action, cid))
    return (event.did, event.kind, event.action, event.collection, event.rkey, event.record,
            event.time_us)  # fmt: skip


class RecentEvents:
    """The keys of the last events appended: between `window_events` and twice as many.

    Two generations, the older dropped whole, so that keeping the window costs nothing an event.

    Of an account that was removed within the window nothing is known: all of it is let through
    again. A rewind may begin before the window: then what came before the removal would be let
    through and the removal kept out, and rows would come back that are gone; or the removal would
    be let through, and what came after it kept out, and rows would be lost.
    """

    def __init__(self, window_events: int) -> None:
        self.window_events = window_events
        self._young: set[Hashable] = set()
        self._old: set[Hashable] = set()
        self._removed_young: set[str] = set()
        self._removed_old: set[str] = set()

    def new_among(self, events: Sequence[Event]) -> list[Event]:
        """Those events that are not in the window, each once, in order."""
        seen: set[Hashable] = set()
        removed = self._removed_young | self._removed_old
        new = []
        for event in events:
            if event.removes_account:
                removed.add(event.did)
            if event.did not in removed:
                key = event_key(event)
                if key in self._young or key in self._old or key in seen:
                    continue
                seen.add(key)
            new.append(event)
        return new

    def add(self, events: Sequence[Event]) -> None:
        """Puts events into the window."""
        self._young.update(map(event_key, events))
        self._removed_young.update(event.did for event in events if event.removes_account)
        if len(self._young) >= self.window_events:
            self._young, self._old = set(), self._young
            self._removed_young, self._removed_old = set(), self._removed_young

    async def fill(self, connection: asyncpg.Connection, head: int) -> None:
        """Fills the window from the log's tail; call before the first append."""
        self.add(await fetch_events(connection, TAIL, head - self.window_events))
