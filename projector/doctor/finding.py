"""What the doctor finds, and of what."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import asyncpg
import msgspec

from projector.database import Database
from projector.declare import Declaration
from projector.settings import Settings

Severity = Literal["bad", "warn", "note", "good"]
ORDER: Final[tuple[Severity, ...]] = ("bad", "warn", "note", "good")
"""`bad`: data is or may be lost or wrong, or nothing works. `warn`: it will be, or it is slow.
`note`: good to know. Only the first two are wrong."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: a line of cause, and a line of cure, a command or a setting to type.

    `name` is a stable slug.
    """

    area: str
    name: str
    severity: Severity
    cause: str
    cure: str = ""

    @property
    def is_wrong(self) -> bool:
        """Whether something is to be done."""
        return self.severity in ("bad", "warn")


@dataclass(frozen=True, slots=True)
class Case:
    """What is looked at: a database by an open connection, what is kept there, and the settings.

    `has_engine` says whether the engine's tables are there; `clock` is ours, in seconds since 1970.
    """

    database: Database
    connection: asyncpg.Connection
    declarations: Sequence[Declaration]
    settings: Settings
    has_engine: bool
    clock: Callable[[], float] = field(default=time.time)


def size(count: float) -> str:
    """A number of bytes as people read it."""
    units = ("B", "kB", "MB", "GB", "TB", "PB")
    at = 0
    while count >= 1000 and at < len(units) - 1:
        count, at = count / 1000, at + 1
    return f"{count:.1f} {units[at]}" if at and count < 99.5 else f"{count:.0f} {units[at]}"
