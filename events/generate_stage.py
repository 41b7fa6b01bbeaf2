"""The clock of a generated firehose: each event's time, identifiers, and what is still to come."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

from events.event import Event, from_time_us
from events.generate_ids import record_cid, tid

Make = Callable[[], Event]

_DELAY_US = 8192  # times 50 to 122, as the character of the DID will have it


class Stage:
    """Makes events at a time that rises strictly, and keeps what was planned for later.

    `index` counts the events made here, from 0; `cursor` is the source's position after the
    current event.
    """

    def __init__(self, rng: Random, first_us: int, spacing_us: int, cursor: int) -> None:
        self._random = rng.random
        self._spacing_us = spacing_us
        self._slot_us = first_us - spacing_us
        self._first_us = first_us
        self._first = self.moment = from_time_us(first_us)
        self.rng = rng
        self.index = -1
        self.now_us = first_us
        self.cursor = cursor
        self.planned: dict[int, Make] = {}

    def advance(self) -> Make | None:
        """Moves on to the next event; returns how to make it if that was planned."""
        self.index += 1
        self.cursor += 1
        self._slot_us += self._spacing_us
        self.now_us = self._slot_us + int(self._random() * self._spacing_us)
        self.moment = self._first + timedelta(0, 0, self.now_us - self._first_us)
        return self.planned.pop(self.index, None)

    def plan(self, delay: int, make: Make) -> None:
        """Has `make` called `delay` events from now (1 or more), or as soon after as is free."""
        at = self.index + delay
        while at in self.planned:
            at += 1
        self.planned[at] = make

    def put(self, action: str, did: str, collection: str, rkey: str, record: str) -> Event:
        """The create or update of a record, given as JSON; the key "" stands for a fresh TID."""
        time = _commit_time(self.now_us, did)
        body = record.encode()
        return Event(
            0,
            did,
            "commit",
            action,
            collection,
            rkey or time + did[-4:-2],
            time + did[-2:],
            record_cid(body),
            body,
            self.moment,
            str(self.cursor),
        )

    def delete(self, did: str, collection: str, rkey: str) -> Event:
        """The deletion of a record."""
        rev = _commit_time(self.now_us, did) + did[-2:]
        cursor = str(self.cursor)
        return Event(
            0, did, "commit", "delete", collection, rkey, rev, None, None, self.moment, cursor
        )

    def tell(self, did: str, kind: str, action: str, record: str) -> Event:
        """An event about an account rather than a record, with its inner object as JSON."""
        body, cursor = record.encode(), str(self.cursor)
        return Event(0, did, kind, action, None, None, None, None, body, self.moment, cursor)


def _commit_time(now_us: int, did: str) -> str:
    """The first part of the TIDs that an account makes for an event of now; a clock id is missing.

    An account's commits are always as long before their events, so that its revs rise. Between
    accounts that differs, and the order of their revs says nothing.
    """
    return tid(now_us - ord(did[20]) * _DELAY_US, "")
