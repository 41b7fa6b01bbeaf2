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

from ops.bench.processes import tree_cpu_seconds
from projector.database import Database
from projector.declare import Declaration
from projector.embedded_postgres import EmbeddedPostgres
from projector.schema import create
from projector.settings import Settings

NAME: Final = "projector_bench"


@dataclass(frozen=True, slots=True)
class Usage:
    """What something took. CPU is user and system time; of a server None where it is remote, or
    takes no part."""

    seconds: float
    own_cpu_seconds: float
    postgres_cpu_seconds: float | None
    redis_cpu_seconds: float | None = None


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
    def metered(self, into: list[Usage], redis: int | None = None) -> Iterator[None]:
        """Appends to `into` what the body took; `redis` is the process of a Redis, if any."""
        before, begun = self._cpu(redis), time.perf_counter()
        yield
        seconds = time.perf_counter() - begun
        took = [_difference(a, b) for a, b in zip(self._cpu(redis), before, strict=True)]
        into.append(Usage(seconds, took[0] or 0.0, took[1], took[2]))

    def _cpu(self, redis: int | None) -> tuple[float | None, ...]:
        """CPU seconds so far: ours, Postgres's, Redis's."""
        servers = (
            None if pid is None else tree_cpu_seconds(pid) for pid in (self.postmaster, redis)
        )
        return (time.process_time(), *servers)


def _difference(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


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
