"""Runs the AppView's own programs: its migrations, its indexer, its servers."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from projector.errors import ProjectorError
from tests.peer.packages import HERE, install

LINE_BYTES_MAX: Final = 16 * 2**20
ANSWER_SECONDS_MAX: Final = 60
ADMIN_PASSWORD: Final = "peer"

# What the AppView asks for though nothing here uses it; no address of it answers.
SETTINGS: Final = {
    "BSKY_BSYNC_URL": "http://127.0.0.1:9",
    "MOD_SERVICE_DID": "did:web:moderation.test",
    "BSKY_ADMIN_PASSWORDS": ADMIN_PASSWORD,
    "LOG_ENABLED": "false",
    "NODE_NO_WARNINGS": "1",
}


class Program:
    """One of the programs in node/, which answers each line it is given with one line."""

    def __init__(self, process: asyncio.subprocess.Process, name: str) -> None:
        self._process = process
        self._name = name

    async def ask(self, line: bytes) -> dict[str, Any]:
        """Gives it a line, and waits for its answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.rstrip(b"\n") + b"\n")
        await self._process.stdin.drain()
        return await self.heard()

    async def heard(self) -> dict[str, Any]:
        """Its next line. Raises `ProjectorError` when it ended instead."""
        assert self._process.stdout is not None
        line = await asyncio.wait_for(self._process.stdout.readline(), ANSWER_SECONDS_MAX)
        if not line:
            raise ProjectorError(f"{self._name} of the peer ended; its errors are above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@asynccontextmanager
async def program(name: str, url: str) -> AsyncIterator[Program]:
    """Runs node/NAME.mjs over a database until the block ends."""
    packages = await asyncio.to_thread(install)
    process = await asyncio.create_subprocess_exec(
        packages.node,
        HERE / "node" / f"{name}.mjs",
        url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **SETTINGS, "PEER_MODULES": str(packages.modules)},
        limit=LINE_BYTES_MAX,
    )
    try:
        yield Program(process, name)
        assert process.stdin is not None
        process.stdin.close()
        if await asyncio.wait_for(process.wait(), ANSWER_SECONDS_MAX) != 0:
            raise ProjectorError(f"{name} of the peer failed; its errors are above")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def migrate(url: str) -> None:
    """Makes the AppView's schema in an empty database."""
    async with program("migrate", url):
        pass
