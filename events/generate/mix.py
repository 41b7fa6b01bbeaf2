"""What a generated firehose is made of: shares of collections, and how often each is undone."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class Mix:
    """Shares of all events by collection, and shares of deletes within a collection.

    The shares `like` to `rare` are weights: they are divided by their sum, so that a changed
    one needs no change of the others. `other` stands for lists, gates, statuses and a collection
    that nobody projects; `rare`, for all other collections, is 0 unless it is asked for.
    `deleted_…` is a fraction (0 to 0.5) of that collection's events.
    The defaults are those of mid-2026; `Mix.preset("2024")` is late 2024 (more follows).
    """

    like: float = 0.69
    post: float = 0.12
    repost: float = 0.10
    follow: float = 0.06
    block: float = 0.010
    profile: float = 0.006
    listitem: float = 0.005
    other: float = 0.003
    identity: float = 0.003
    account: float = 0.003
    rare: float = 0.0
    deleted_like: float = 0.013
    deleted_post: float = 0.05
    deleted_repost: float = 0.03
    deleted_follow: float = 0.08
    deleted_block: float = 0.10
    deleted_listitem: float = 0.10

    def __post_init__(self) -> None:
        """Raises ValueError for a share that is negative, too large or not a number."""
        for name in MIX_KEYS:
            value = getattr(self, name)
            largest = 0.5 if name.startswith("deleted_") else 1e6
            if not 0 <= value <= largest:
                raise ValueError(f"{name} must lie between 0 and {largest:g}, not {value}")
        if not any(getattr(self, name) for name in SHARES):
            raise ValueError("every share is 0")

    @classmethod
    def preset(cls, name: str) -> Self:
        """The mix of a year, `2026` or `2024`; raises ValueError for another."""
        if name == "2026":
            return cls()
        if name == "2024":
            return replace(cls(), **_LATE_2024)
        raise ValueError(f"no mix is called {name!r}: there are 2024 and 2026")

    def share(self, name: str) -> float:
        """The fraction (0 to 1) of all events that `name` has, `name` being one of SHARES."""
        total: float = sum(getattr(self, each) for each in SHARES)
        value: float = getattr(self, name)
        return value / total


MIX_KEYS = tuple(field.name for field in fields(Mix))
"""The names of all settings of a mix."""
SHARES = tuple(name for name in MIX_KEYS if not name.startswith("deleted_"))
"""The names of the shares of all events."""
_LATE_2024 = {
    "like": 0.47,
    "post": 0.095,
    "repost": 0.059,
    "follow": 0.33,
    "block": 0.016,
    "profile": 0.008,
    "listitem": 0.008,
    "other": 0.008,
}
