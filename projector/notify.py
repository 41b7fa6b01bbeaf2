"""What systemd is told: ready, how it goes, alive, stopping (sd_notify(3)); nothing where it did
not start us."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from events.tasks import end, pause
from projector.database import one_line
from projector.pulse import MARGIN_SECONDS, PULSE, Pulse
from projector.settings import Settings

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 2.0
READY_LOOK_SECONDS: Final = 0.1
STATUS_CHARS_MAX: Final = 300


class Supervisor:
    """The datagram socket of NOTIFY_SOCKET. `watchdog_seconds` is 0 where none is asked for."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self.watchdog_seconds = _watchdog_seconds(environment)

    @property
    def is_there(self) -> bool:
        """Whether somebody listens."""
        return self._address.startswith(("/", "@"))

    def tell(self, *lines: str) -> None:
        """Sends one message; trouble with it is said, and that is all."""
        # An address that begins with @ is one of the abstract ones, whose first byte is 0.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.setblocking(False)
            try:
                link.sendto("\n".join(lines).encode(), address)
            except OSError as error:
                log.warning("systemd is not told %s: %s", lines[0], one_line(error))


def _watchdog_seconds(environment: Mapping[str, str]) -> float:
    microseconds = environment.get("WATCHDOG_USEC", "")
    ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(microseconds) / 1_000_000 if microseconds.isdecimal() and ours else 0.0


@asynccontextmanager
async def supervised(
    settings: Settings,
    stop: asyncio.Event,
    sentence: Callable[[], str],
    *,
    is_ready: Callable[[], bool] = lambda: PULSE.is_watching,
    supervisor: Supervisor | None = None,
    pulse: Pulse = PULSE,
) -> AsyncIterator[None]:
    """Tells the supervisor, as long as it lasts, how the work goes.

    It runs in the loop that does the work, and feeds the watchdog only while no loop is stuck: so
    neither a blocked process nor one that waits for what never comes is taken for a living one.
    """
    supervisor = supervisor or Supervisor()
    if not supervisor.is_there:
        yield
        return
    telling = _Telling(supervisor, pulse, patience_seconds(settings), sentence)
    task = asyncio.create_task(telling.run(stop, is_ready), name="supervisor")
    try:
        yield
    finally:
        await end(task)
        supervisor.tell("STOPPING=1")


def patience_seconds(settings: Settings) -> float:
    """How long a loop that has something to do may be silent: longer than any answer takes."""
    return settings.command_timeout_seconds + MARGIN_SECONDS


@dataclass(frozen=True, slots=True)
class _Telling:
    supervisor: Supervisor
    pulse: Pulse
    patience_seconds: float
    sentence: Callable[[], str]

    async def run(self, stop: asyncio.Event, is_ready: Callable[[], bool]) -> None:
        watchdog = self.supervisor.watchdog_seconds
        while not is_ready() and not stop.is_set():
            await pause(stop, READY_LOOK_SECONDS)
        self.supervisor.tell("READY=1")
        seconds = min(LOOK_SECONDS, watchdog / 3 or LOOK_SECONDS)
        told, stuck = "", list[str]()
        while not stop.is_set():
            stuck = self._stuck(stuck)
            says = f"Stuck: {', '.join(stuck)}." if stuck else self.sentence()
            lines = [f"STATUS={says[:STATUS_CHARS_MAX]}"] if says != told else []
            if watchdog and not stuck:
                lines.append("WATCHDOG=1")
            if lines:
                self.supervisor.tell(*lines)
            told = says
            await pause(stop, seconds)
        self.supervisor.tell("STOPPING=1", "STATUS=Stopping: what was begun is finished.")
        while watchdog:
            # The drain has a deadline of its own.
            self.supervisor.tell("WATCHDOG=1")
            await asyncio.sleep(seconds)

    def _stuck(self, before: list[str]) -> list[str]:
        stuck = self.pulse.stuck(self.patience_seconds)
        if stuck and stuck != before:
            log.error("stuck for %.0f s or longer: %s", self.patience_seconds, ", ".join(stuck))
        return stuck
