"""What a fault is, and the registry of those there are."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulator.faults.world import World

Act = Callable[["World"], Awaitable[str]]


class Unfired(Exception):
    """A fault was scheduled, and nobody saw it."""


class Disturbed(ConnectionError):
    """Another fault took away what this one works with; it is begun anew."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    - `does`: what is done, to which real server or process.
    - `seen`: how it is known to have happened, from the server or the program.
    - `holds`: what must hold afterwards, beside the oracle's verdict.
    - `act` does it, waits until it was seen, undoes it, and returns what was seen. It may be begun
      anew, where another fault takes from under it what it works with.
    - `whole`: it lasts until all else has come to rest.
    - `needs_root`: for it a file system is mounted.
    """

    name: str
    does: str
    seen: str
    holds: str
    act: Act
    whole: bool = False
    needs_root: bool = False


FAULTS: dict[str, Fault] = {}


def usable() -> list[str]:
    """The names of the faults that whoever runs this may do."""
    return [f.name for f in FAULTS.values() if os.geteuid() == 0 or not f.needs_root]


def fault(
    name: str,
    *,
    does: str,
    seen: str,
    holds: str,
    whole: bool = False,
    needs_root: bool = False,
) -> Callable[[Act], Act]:
    """Registers a function as the act of a fault."""

    def register(act: Act) -> Act:
        assert name not in FAULTS, name
        FAULTS[name] = Fault(name, does, seen, holds, act, whole, needs_root)
        return act

    return register
