"""Runs the program as an operator does: in a process of its own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from tests.support.engine import DECLARATIONS
from tests.support.harness import until

COMMAND = (sys.executable, "-m", "projector.cli")
KEPT = ",".join(declaration.name for declaration in DECLARATIONS)
OURS = ("PROJECTOR_", "OTEL_", "LOG_LEVEL")


def environment(**more: str) -> dict[str, str]:
    """The environment of this process without what would change the program's ways; the projections
    are those of `tests.support.engine.DECLARATIONS`."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(OURS)}
    own = {
        "COLUMNS": "200",
        "NO_PROXY": "127.0.0.1,localhost",
        "PROJECTOR_PROJECTIONS": KEPT,
        "PROJECTOR_STATUS_LISTEN": "",
    }
    return kept | own | more


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a command."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        """The JSON it printed, and nothing else."""
        assert self.code in (0, 1), self.err
        return msgspec.json.decode(self.out)

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def complaint(self) -> str:
        """The one line in which it says what is wrong; beside it, log lines at the most."""
        lines = [line for line in self.err.splitlines() if line.startswith("projector: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0].removeprefix("projector: ")


class Place:
    """A folder in which commands run, with what all of them are given."""

    def __init__(self, folder: Path, *common: str, **variables: str) -> None:
        self.folder = folder
        self.common = common
        self.variables = variables

    async def run(
        self, *words: str, env: Mapping[str, str] | None = None, seconds: float = 90
    ) -> Ended:
        """Runs a command to its end."""
        return await self.run_into(subprocess.PIPE, *words, env=env, seconds=seconds)

    async def run_into(
        self, out: int, *words: str, env: Mapping[str, str] | None = None, seconds: float = 90
    ) -> Ended:
        """The same, with its standard output going elsewhere."""
        done = await asyncio.to_thread(
            subprocess.run,
            [*COMMAND, *words, *self.common],
            cwd=self.folder,
            env=environment(**{**self.variables, **(env or {})}),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.PIPE,
            timeout=seconds,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr.decode())

    async def ok(
        self, *words: str, env: Mapping[str, str] | None = None, seconds: float = 90
    ) -> Ended:
        """Runs a command that must end well."""
        ended = await self.run(*words, env=env, seconds=seconds)
        assert ended.code == 0, f"{words}: {ended.code}: {ended.err}"
        return ended

    async def json(self, *words: str, **variables: str) -> Any:
        """The JSON of a command that must end well."""
        return (await self.ok(*words, "--json", env=variables)).json

    def start(self, *words: str, env: Mapping[str, str] | None = None) -> Running:
        """Starts a command that goes on."""
        return Running(
            [*COMMAND, *words, *self.common],
            self.folder,
            environment(**{**self.variables, **(env or {})}),
        )


class Running:
    """A command under way. Leaving its `async with` kills it where it still runs."""

    _count = 0

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        Running._count += 1
        self.log = folder / f"stderr-{Running._count}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    async def __aenter__(self) -> Running:
        return self

    async def __aexit__(self, *exception: object) -> None:
        self.kill()
        await self.code()

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    @property
    def said(self) -> str:
        """All that it has printed so far."""
        return self.log.read_text()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """Ends it as a crash does, stopped or not."""
        self.process.kill()

    def terminate(self) -> None:
        """Asks it to end."""
        self.send(signal.SIGTERM)

    async def code(self, seconds: float = 60) -> int:
        """Waits for its end; returns the exit code."""
        return await asyncio.to_thread(self.process.wait, seconds)

    async def until_said(self, text: str, *, seconds: float = 30) -> None:
        """Waits until it has printed a text."""

        async def has_said() -> bool:
            assert self.is_running or text in self.said, self.said
            return text in self.said

        await until(has_said, seconds=seconds)
