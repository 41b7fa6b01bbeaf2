"""What processes take: CPU time and memory, as the kernel tells; and children of our own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import IO, Final

TICKS: Final = os.sysconf("SC_CLK_TCK")
CPU_CLOCK: Final = 2
"""With the complement of a process id before it, Linux's name of the clock of that process."""
POLL_SECONDS: Final = 0.02
STOP_SECONDS_MAX: Final = 40.0
HELPERS_SECONDS: Final = 0.5
"""How often it is asked which processes a child has started: that looks at all there are."""


def tree_cpu_seconds(root: int) -> float:
    """CPU seconds of a process and its children, those of its children that have ended too."""
    parent = str(root)
    while True:
        before = _stat(parent)[2:4]  # utime and stime of its ended children
        seconds = sum(_ticks(before)) / TICKS
        for pid in (root, *children(root)):
            seconds += cpu_seconds(pid)
        if _stat(parent)[2:4] == before:  # else a child may have ended uncounted
            return seconds


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process, far more exact than the ticks in /proc; 0 where it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | CPU_CLOCK)
    except OSError:
        return 0.0


def children(root: int) -> list[int]:
    """The processes whose parent it is."""
    parent = str(root)
    return [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdecimal() and (stat := _stat(entry.name)) and stat[4] == parent
    ]


def rss_bytes(pid: int) -> int:
    """Resident memory of a process; 0 where it is gone."""
    try:
        pages = int(Path("/proc", str(pid), "statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def peak_rss_bytes(pid: int) -> int:
    """The most that was ever resident of a process; 0 where it has ended.

    (What `wait4` tells is no use: it counts what was there before the program was loaded, which is
    our own memory.)
    """
    try:
        lines = Path("/proc", str(pid), "status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def tree_pss_bytes(root: int) -> int:
    """Memory of a process and its children, what they share counted once (sum of PSS)."""
    return sum(_pss_bytes(pid) for pid in (root, *children(root)))


def _pss_bytes(pid: int) -> int:
    try:
        lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _ticks(fields: Sequence[str]) -> list[int]:
    return [int(text) for text in fields]


def _stat(pid: str) -> list[str]:
    """utime, stime, cutime, cstime and parent of a process; nothing where it is gone."""
    try:
        text = Path("/proc", pid, "stat").read_text()
    except OSError:
        return []
    fields = text.rpartition(")")[2].split()
    return [*fields[11:15], fields[1]]


class Child:
    """A Python module run as a process of its own; ended by its pid, and never left behind.

    `cpu_seconds` is known once it has ended; `rss_bytes_max` is as of the last time that somebody
    asked whether it has. Both have the processes that it started in them. What it says on standard
    error is in `log`; what it prints goes to a pipe, to the file `output`, or nowhere.
    """

    def __init__(
        self, log: Path, module: str, *words: str, pipe: bool = False, output: Path | None = None
    ) -> None:
        self.log = log
        self.name = " ".join((module, *words))
        self.code: int | None = None
        self.cpu_seconds = 0.0
        self.rss_bytes_max = 0
        self._helpers: list[int] = []
        self._counted_at = 0.0
        with log.open("ab") as errors, (output or Path(os.devnull)).open("wb") as printed:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if pipe else printed,
                stderr=errors,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> IO[bytes]:
        """Its standard output, where there is a pipe."""
        assert self._process.stdout is not None
        return self._process.stdout

    def _look_at_memory(self) -> None:
        if time.monotonic() - self._counted_at > HELPERS_SECONDS:
            self._helpers, self._counted_at = children(self.pid), time.monotonic()
        peaks = sum(peak_rss_bytes(pid) for pid in (self.pid, *self._helpers))
        self.rss_bytes_max = max(self.rss_bytes_max, peaks)

    def ended(self) -> bool:
        """Whether it has ended; takes note of what it used."""
        if self.code is None:
            self._look_at_memory()
            pid, status, used = os.wait4(self.pid, os.WNOHANG)
            if pid:
                self.code = self._process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu_seconds = used.ru_utime + used.ru_stime
        return self.code is not None

    def check(self) -> None:
        """Fails where it ended in another way than well."""
        if self.ended() and self.code != 0:
            lines = self.log.read_text("utf-8", "replace").splitlines()[-5:]
            raise RuntimeError(f"{self.name} ended with {self.code}: {' | '.join(lines)}")

    async def wait(self, seconds_max: float) -> None:
        """Waits for its end; fails after `seconds_max`, or where it did not end well."""
        if not await until(self.ended, seconds_max):
            raise TimeoutError(f"{self.name} took more than {seconds_max:.0f} s")
        self.check()

    async def stop(self) -> None:
        """Ends it in good order, by force where that takes too long."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.ended():
                break
            os.kill(self.pid, number)
            await until(self.ended, STOP_SECONDS_MAX)
        if self._process.stdout is not None:
            self._process.stdout.close()


async def until(condition: Callable[[], bool], seconds_max: float) -> bool:
    """Waits until the condition holds; False where it did not in time."""

    async def look() -> bool:
        return condition()

    return await eventually(look, seconds_max)


async def eventually(look: Callable[[], Awaitable[bool]], seconds_max: float) -> bool:
    """Looks again and again until it is so; False where it was not in time."""
    end = time.monotonic() + seconds_max
    while not await look():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(POLL_SECONDS)
    return True
