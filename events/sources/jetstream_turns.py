"""Which Jetstream host has its turn, and how long to wait before it is tried."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from tenacity import AsyncRetrying, RetryCallState, wait_exponential_jitter

from events.sources.jetstream_position import Position
from events.sources.jetstream_url import Host

DROPS_MAX: Final = 2
"""So many short-lived connections in a row to one host, then the next host has its turn."""


@dataclass(frozen=True, slots=True)
class End:
    """How a connection ended.

    `behind`: the host took our cursor for the future; `clock`: it told its time, as asked to.
    `first_us` is the time of the first message that such a host sent, where it sent one.
    """

    kind: Literal["refused", "dropped", "silent", "too-large", "behind", "clock"]
    why: str
    first_us: int | None = None


class Turns:
    """Hosts have their turns, in order and for ever.

    One that refuses, is silent, or takes our cursor for the future loses its turn at once; one
    that drops connections loses it at the second short-lived one.
    """

    def __init__(
        self,
        hosts: Sequence[Host],
        position: Position,
        *,
        backoff_seconds_min: float,
        backoff_seconds_max: float,
    ) -> None:
        self._hosts = hosts
        self._position = position
        self._turn = 0
        self._attempts = 0
        self._drops = 0
        self._hosts_behind = 0
        self.asking_clock = False
        # The jitter spreads the clients of a host that restarts.
        self._backoff = wait_exponential_jitter(
            multiplier=backoff_seconds_min, jitter=backoff_seconds_min, max=backoff_seconds_max
        )

    @property
    def host(self) -> Host:
        """Whose turn it is. With `asking_clock` it is asked for live events: the first tells."""
        return self._hosts[self._turn % len(self._hosts)]

    def requested_us(self) -> int | None:
        """What to ask it for; None: live."""
        return None if self.asking_clock else self._position.request_us()

    def accepted(self) -> None:
        """The host began where it was asked to."""
        self._hosts_behind = 0
        self._position.unshift()

    def progressed(self) -> None:
        """Something new has come: the backoff starts anew."""
        self._attempts = 0

    def lasted(self) -> None:
        """The connection was no short-lived one."""
        self._drops = 0

    def ended(self, end: End) -> None:
        """Decides whose turn is next, and what it is to be asked."""
        if end.kind == "clock" and end.first_us is not None:
            self.asking_clock = False
            self._position.shift(end.first_us)
        elif end.kind == "behind":
            self._behind(end)
        elif end.kind == "dropped":
            self._drops += 1
            if self._drops >= DROPS_MAX:
                self._next()
        elif end.kind in ("refused", "silent"):
            self._next()

    def backoff_seconds(self) -> float:
        """How long to wait now; grows from call to call."""
        self._attempts += 1
        state = RetryCallState(AsyncRetrying(), None, (), {})
        state.attempt_number = self._attempts
        return self._backoff(state)

    def _behind(self, end: End) -> None:
        """Another host may have a right clock; when none has, this one is asked for its own."""
        self._hosts_behind += 1
        if self._hosts_behind < len(self._hosts):
            self._next()
        elif end.first_us is not None:
            self._position.shift(end.first_us)
        else:
            self.asking_clock = True

    def _next(self) -> None:
        self._turn += 1
        self._drops = 0
        self.asking_clock = False
        self._position.unshift()
