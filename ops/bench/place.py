"""Where it is measured: the machine, a Postgres with fresh databases, and a meter of CPU time."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from projector.database import Database
from projector.declare import Declaration
from projector.embedded_postgres import EmbeddedPostgres
from projector.schema import create
from projector.settings import Settings

NAME: Final = "projector_bench"
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What something took. CPU is user and system time; of Postgres None where it is remote."""

    seconds: float
    own_cpu_seconds: float
    postgres_cpu_seconds: float | None


@dataclass(slots=True)
class Place:
    """One server, on which every measurement has a database of its own.

    `postmaster` is the process id of a server of our own, whose CPU time can be read.
    """

    url: str
    settings: Settings
    declarations: Sequence[Declaration]
    postmaster: int | None = None
    options: tuple[str, ...] = field(default=())

    @asynccontextmanager
    async def fresh(self) -> AsyncIterator[Database]:
        """An empty database with the schema; dropped at the end. Starts after a checkpoint."""
        server = await asyncpg.connect(self.url)
        try:
            await server.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
            await server.execute(f"CREATE DATABASE {NAME}")
            database = Database(urlunsplit(urlsplit(self.url)._replace(path=f"/{NAME}")))
            await self._prepare(database)
            with suppress(asyncpg.InsufficientPrivilegeError):
                await server.execute("CHECKPOINT")
            yield database
            await server.execute(f"DROP DATABASE {NAME} WITH (FORCE)")
        finally:
            await server.close()

    async def _prepare(self, database: Database) -> None:
        connection = await database.connect("bench")
        try:
            await create(
                connection,
                self.declarations,
                self.settings.schema,
                partition_events=self.settings.partition_events,
            )
        finally:
            await connection.close()

    async def server_version(self) -> str:
        """The version that the server states."""
        connection = await asyncpg.connect(self.url)
        try:
            return str(await connection.fetchval("SHOW server_version"))
        finally:
            await connection.close()

    @contextmanager
    def metered(self, into: list[Usage]) -> Iterator[None]:
        """Appends to `into` what the body took."""
        postgres, own, begun = self._postgres_cpu(), time.process_time(), time.perf_counter()
        yield
        seconds, own = time.perf_counter() - begun, time.process_time() - own
        after = self._postgres_cpu()
        known = None if postgres is None or after is None else after - postgres
        into.append(Usage(seconds, own, known))

    def _postgres_cpu(self) -> float | None:
        """CPU seconds of the server's processes, those that have ended too."""
        if self.postmaster is None:
            return None
        root = str(self.postmaster)
        while True:
            before = _stat(root)[:4]  # utime, stime, and those of its ended children
            ticks = sum(_ticks(before))
            for entry in Path("/proc").iterdir():
                if entry.name.isdecimal() and (stat := _stat(entry.name)) and stat[4] == root:
                    ticks += sum(_ticks(stat[:2]))
            if _stat(root)[2:4] == before[2:]:  # else a process may have ended uncounted
                return ticks / TICKS


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


@asynccontextmanager
async def place(
    database: str | None,
    settings: Settings,
    declarations: Sequence[Declaration],
    options: Sequence[str] = (),
) -> AsyncIterator[Place]:
    """The server named, or one of our own in a temporary folder, with further `options`."""
    if database is not None:
        yield Place(database, settings, declarations)
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    server = EmbeddedPostgres(folder, options=[f"-c{option}" for option in options])
    try:
        url = server.start()
        postmaster = int((server.data / "postmaster.pid").read_text().split()[0])
        yield Place(url, settings, declarations, postmaster, tuple(options))
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def machine() -> dict[str, str]:
    """The processor, its cores, memory and Python."""
    cpu = platform.processor() or platform.machine()
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return {
        "cpu": cpu,
        "cores": str(os.cpu_count()),
        "memory": f"{memory:.0f} GiB",
        "python": platform.python_version(),
    }
