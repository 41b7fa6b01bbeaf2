"""A story told by hand, with what it comes to, for the tests of explain, history and bisect."""

from __future__ import annotations

from events.event import Event
from tests.support.histories import DIDS, FOLLOW, made

A, B, C, D = DIDS[:4]


def follow(number: int, who: int, whom: int, rkey: int = 0, what: str = "create") -> Event:
    """Account `who` follows account 0 or 1 by event so-and-so."""
    return made(number, what, FOLLOW, account=who, subject=whom, rkey=rkey)


STORY: list[Event] = [
    follow(1, 1, 0),  # B follows A: 1
    follow(2, 2, 0),  # C follows A: 2
    follow(3, 2, 0, rkey=1),  # C again, with another key: waits, still 2
    follow(4, 3, 1),  # D follows B
    follow(5, 3, 0, what="update"),  # the same record: D now follows A: 3
    follow(2, 2, 0),  # C's first follow is delivered once more: still 3
    follow(7, 2, 0, what="delete"),  # C's first goes, the one that waited counts: still 3
    follow(8, 1, 0, rkey=2, what="invalid"),  # a dead letter of B
    follow(9, 2, 0, rkey=1, what="delete"),  # C's second goes, too: 2
    made(10, "deleted", account=3),  # D's account goes: 1
    follow(11, 3, 0),  # D is back: 2
    follow(12, 3, 1, what="update"),  # D follows B instead: 1
    follow(13, 2, 0, rkey=3),  # C follows again: 2
]
"""Offset n is the n-th of these. What it does to the followers of A is said behind each."""

MOVES = [(1, +1), (2, +1), (5, +1), (9, -1), (10, -1), (11, +1), (12, -1), (13, +1)]
"""The offsets that moved followersCount of A, and by how much."""

VALUES = [(1, 1), (2, 2), (5, 3), (9, 2), (10, 1), (11, 2), (12, 1), (13, 2)]
"""followersCount of A from those offsets on."""


def uri(who: str, rkey: int = 0) -> str:
    """The at-uri of a follow."""
    return f"at://{who}/{FOLLOW}/r{rkey}"
