"""The part of systemd that a daemon talks to: a datagram socket, and what came over it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

MESSAGE_BYTES_MAX = 4096


class Systemd:
    """Listens while it is entered."""

    def __init__(self, path: Path, *, watchdog_seconds: float = 0.3) -> None:
        self.path = path
        self.watchdog_seconds = watchdog_seconds
        self.heard: list[str] = []

    def __enter__(self) -> Self:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._socket.setblocking(False)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a unit's processes are given."""
        microseconds = str(round(self.watchdog_seconds * 1_000_000))
        return {"NOTIFY_SOCKET": str(self.path), "WATCHDOG_USEC": microseconds}

    async def hears(self, begin: str, *, seconds: float = 30) -> str:
        """Waits for the next line that begins so."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            while True:
                message = await loop.sock_recv(self._socket, MESSAGE_BYTES_MAX)
                lines = message.decode().splitlines()
                self.heard += lines
                for line in lines:
                    if line.startswith(begin):
                        return line

    def waiting(self) -> list[str]:
        """The lines that have come and were not read yet."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(MESSAGE_BYTES_MAX).decode().splitlines()
            except BlockingIOError:
                return lines
