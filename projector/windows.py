"""What is said of a window that is applied: where it goes, what was looked up, what it did."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Step:
    """A move of the checkpoint from `after` to `through`, past `events` events of concern."""

    after: int
    through: int
    events: int
    events_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Applied:
    """What a window did: rows put into and taken out of the table, keys whose counts changed.

    `told` says, where columns are told of, what they have in rows that went, then in rows that
    came: with False or True.
    """

    inserted: int
    deleted: int
    deltas: int
    told: list[tuple[tuple[str, ...], bool]] = field(default_factory=list)


@dataclass(slots=True)
class Probed:
    """What was found of a window's fresh rows before its turn, while another window was applied.

    `taken` are uris and `claims` claims that are not known to be free. `edits` is the checkpoint's
    count of edits at the time: when it has moved since, all of this is void.
    """

    edits: int
    taken: set[str]
    claims: set[tuple[str, ...]] = field(default_factory=set)
