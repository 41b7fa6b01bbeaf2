"""How far a Jetstream stream has come, and from where to ask for it again.

A cursor is a time of the host's clock, so two things need care: clocks that disagree, and a
message too large to be received, which would stop the stream for ever at one place.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

REGRESSION_US: Final = 250_000
"""By how much the first message may be older than what was asked for: hosts send in their own
order, which is not quite that of the times."""

STEP_DOUBLINGS_MAX: Final = 40


def wall_us() -> int:
    """Now, in microseconds since 1970."""
    return time.time_ns() // 1000


class Position:
    """What has been received, in microseconds.

    `cursor_us` is to be saved, and `last_us` is what a reconnect within the run goes by: the
    greatest time seen on the clock in force, which goes back with a host whose clock is behind.
    `cursor_us` is that of all clocks, but while what is read was read before, and lies further
    back than a restart would go, it is the time of that: of what is read twice no part may be left
    out. Half of it would undo what the other half does again.

    A single time out of line (far ahead of our clock, or far behind the last) moves nothing: it
    may be one bad message. A second in a row is believed to be the host's clock. Times ahead of
    our clock count as now, since a host with a right clock would not have them yet. So `last_us`
    may not have followed a connection that went far back: the next one begins no later than where
    that one has certainly come.
    """

    def __init__(
        self, cursor_us: int | None, rewind_us: int, now_us: Callable[[], int] = wall_us
    ) -> None:
        self.last_us = cursor_us
        self._greatest_us = cursor_us
        self._reading_us: int | None = None
        self._kept_us: int | None = None
        self._rewind_us = rewind_us
        self._back_us = 2 * rewind_us + 1_000_000
        self._now_us = now_us
        self._odd: Literal["", "ahead", "behind"] = ""
        self._told: set[str] = set()
        self._floor_us = 1
        self._stuck_times = 0
        self._stepped_us = 1
        self._shifted_us: int | None = None

    @property
    def cursor_us(self) -> int | None:
        """What is to be saved; None: nothing has come."""
        greatest_us, reading_us = self._greatest_us, self._reading_us
        if greatest_us is None or reading_us is None or reading_us >= greatest_us - self._rewind_us:
            return greatest_us
        return reading_us

    def request_us(self) -> int | None:
        """What to ask the next connection for (a host sends what is at or after it); None: live."""
        self._told.clear()
        self._reading_us = self._next_us()
        return self._reading_us

    def _next_us(self) -> int | None:
        if self.last_us is None:
            return None
        if self._shifted_us is not None:
            return self._shifted_us
        if self._stuck_times >= 2:
            step_us: int = 1 << min(self._stuck_times - 2, STEP_DOUBLINGS_MAX)
            # Never into the future: a host would take that for live.
            self._stepped_us = self.last_us + min(step_us, max(self._now_us() - self.last_us, 1))
            return self._stepped_us
        next_us = self.last_us - self._rewind_us
        if self._kept_us is not None:
            next_us = min(next_us, self._kept_us)
        return max(next_us, self._floor_us)

    def observe(self, time_us: int) -> str | None:
        """Takes note of a message's time; returns what an operator should know, if anything."""
        note = self._observe(time_us)
        self._kept_us = self._reading_us
        return note

    def _observe(self, time_us: int) -> str | None:
        now_us = self._now_us()
        last_us = self.last_us
        if time_us > now_us + self._rewind_us:
            return self._ahead(time_us, now_us)
        if last_us is not None and time_us < last_us - self._back_us:
            return self._behind(time_us, last_us)
        self._odd = ""
        if last_us is None or time_us > last_us:
            self._reach(time_us)
        elif self._reading_us is None or time_us > self._reading_us:
            self._reading_us = time_us
        return None

    def is_behind(self, first_us: int, requested_us: int | None) -> bool:
        """Whether a host that was asked for a time began before it: that was its future, so it is
        live. (A host that only begins early looks the same; it costs repeats, and only once.)
        """
        if requested_us is None or self._shifted_us is not None or self._stuck_times >= 2:
            return False
        return first_us < requested_us - REGRESSION_US

    def shift(self, first_us: int) -> None:
        """Makes the next request fit a host that took our cursor for the future.

        `first_us` is its present. As far before it lies what we have not received as our last
        message is old; and at least as far as our cursor is ahead of that host, which covers a
        cursor saved from a clock that was ahead.
        """
        last_us = self.last_us if self.last_us is not None else first_us
        gap_us = max(last_us - first_us, self._now_us() - last_us, 0)
        self._shifted_us = max(first_us - gap_us - self._rewind_us, 1)

    def unshift(self) -> None:
        """Forgets `shift`: the connection is made, or another host's turn has come."""
        self._shifted_us = None

    def stuck(self) -> bool:
        """Takes note that what follows cannot be received; True the first time at this place.

        Without a place (live, and nothing received) each is another message: always True.

        The second request for the same place is an ordinary one. From the third on, requests
        begin 1, 2, 4, … microseconds after the last message received. So the message is passed
        after a few attempts, and with it at most what follows it for as long as the silence
        before it; nothing else is lost.
        """
        self._stuck_times += 1
        return self._stuck_times == 1 or self.last_us is None

    def _reach(self, time_us: int) -> None:
        if self._stuck_times:
            # A later rewind must not run into the same message again.
            self._floor_us = max(self._floor_us, min(self._stepped_us, time_us))
            self._stuck_times = 0
        self.last_us = self._reading_us = time_us
        if self._greatest_us is None or time_us > self._greatest_us:
            self._greatest_us = time_us

    def _ahead(self, time_us: int, now_us: int) -> str | None:
        if self._confirmed("ahead") and (self.last_us is None or now_us > self.last_us):
            self._reach(now_us)
        return self._tell("ahead", f"its times are {_seconds(time_us - now_us)} ahead of our clock")

    def _behind(self, time_us: int, last_us: int) -> str | None:
        if not self._confirmed("behind"):
            return None
        self._floor_us, self._stuck_times, self._stepped_us = 1, 0, 1
        self._odd = ""
        self._reach(time_us)
        return self._tell("behind", f"its times went back by {_seconds(last_us - time_us)}")

    def _confirmed(self, odd: Literal["ahead", "behind"]) -> bool:
        before, self._odd = self._odd, odd
        return before == odd

    def _tell(self, what: str, line: str) -> str | None:
        if what in self._told:
            return None
        self._told.add(what)
        return line


def _seconds(us: int) -> str:
    return f"{us / 1_000_000:.1f} s"
