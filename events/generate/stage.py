"""The clock of a generated firehose: each event's time, identifiers, and what is still to come."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from events.event import Event
from events.generate.ids import record_cid, tid

Make = Callable[[], Event]

_PARTS_BITS = 10
_DELAY_US = 8192
# An account's commits are always as long before their events (50 to 122 times this, as a character
# of its DID will have it), so that its revs rise; between accounts their order says nothing.


class Stage:
    """Makes events at a time that rises strictly, and keeps what was planned for later.

    `index` counts the events made here, from 0; `cursor` is the source's position after the
    current event.
    """

    def __init__(self, rng: Random, first_us: int, spacing_us: int, cursor: int) -> None:
        self._bits = rng.getrandbits
        self._spacing_us = spacing_us
        self._slot_us = first_us - spacing_us
        self._late_us = [spacing_us * part >> _PARTS_BITS for part in range(1 << _PARTS_BITS)]
        self.rng = rng
        self.index = -1
        self.now_us = first_us
        self.cursor = cursor
        self.planned: dict[int, Make] = {}

    def advance(self) -> Make | None:
        """Moves on to the next event; returns how to make it if that was planned."""
        part = self._bits(_PARTS_BITS)
        self._slot_us += self._spacing_us
        self.now_us = self._slot_us + self._late_us[part]
        self.cursor += 1
        self.index += 1
        return self.planned.pop(self.index, None)

    def plan(self, delay: int, make: Make) -> None:
        """Has `make` called `delay` events from now (1 or more), or as soon after as is free."""
        at = self.index + delay
        while at in self.planned:
            at += 1
        self.planned[at] = make

    def put(self, action: str, did: str, collection: str, rkey: str, record: str) -> Event:
        """The create or update of a record, given as JSON; the key "" stands for a fresh TID."""
        body = record.encode()
        time = tid(self.now_us - ord(did[20]) * _DELAY_US, "")
        rkey = rkey or time + did[-4:-2]
        rev = time + did[-2:]
        cid, cursor = record_cid(body), str(self.cursor)
        return Event(
            0, did, "commit", action, collection, rkey, rev, cid, body, self.now_us, cursor
        )

    def delete(self, did: str, collection: str, rkey: str) -> Event:
        """The deletion of a record."""
        rev = tid(self.now_us - ord(did[20]) * _DELAY_US, did[-2:])
        cursor = str(self.cursor)
        return Event(
            0, did, "commit", "delete", collection, rkey, rev, None, None, self.now_us, cursor
        )

    def tell(self, did: str, kind: str, action: str, record: str) -> Event:
        """An event about an account rather than a record, with its inner object as JSON."""
        body, cursor = record.encode(), str(self.cursor)
        return Event(0, did, kind, action, None, None, None, None, body, self.now_us, cursor)
