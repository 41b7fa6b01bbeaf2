"""Applying event by event: what an event does, told as statements that the engine plays.

For tables that hang on the order of events one by one, and on what each finds: the opposite of
`Projection`, whose windows are folded. A declaration does no I/O: it yields statements and is sent
their rows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from events.event import Event

T = TypeVar("T")

Rows = Sequence[Sequence[Any]]
"""What a statement returned."""


class Refused(Exception):
    """The event cannot be applied; nothing of this effect is kept, and a dead letter says why."""


@dataclass(frozen=True, slots=True)
class Sql:
    """A statement and its parameters. Names without a schema are of the declaration's tables."""

    text: str
    values: tuple[object, ...]


Doing = Generator[Sql, Rows, T]
"""Yields statements, is sent the rows of each, and returns what comes of it."""

Effect = Doing[None]
"""Done whole or not at all. May raise `InvalidRecord` and `Refused`."""


def do(text: str, *values: object) -> Doing[Rows]:
    """One statement; returns its rows."""
    return (yield Sql(text, values))


@dataclass(frozen=True, slots=True)
class EventByEvent:
    """Tables that are kept by applying every event of the log by itself, in the log's order.

    `apply` gives the effects of an event, in their order; what is refused of one leaves the others.
    Like any projection it is a pure function of the log (invariant 3). `ddl` is SQL as that of a
    `Projection`. It costs a statement or several an event, whatever the window's size.
    """

    name: str
    version: int
    apply: Callable[[Event], Iterable[Effect]]
    ddl: str
