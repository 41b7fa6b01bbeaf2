"""The servers that faults befall, each behind a proxy, on small disks of their own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from projector.embedded_postgres import CONFIGURATION, EmbeddedPostgres
from projector.errors import CannotConnect
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.proxy import Proxy, to_port, to_socket
from tests.support.redis_server import RedisServer, redis_binaries

DISK_MIB = 512
SMALL_SERVER = """
shared_buffers = 64MB
max_connections = 100
superuser_reserved_connections = 10
wal_buffers = 1MB
min_wal_size = 32MB
max_wal_size = 128MB
"""
ROLE = "app"
"""As whom the program connects: an ordinary role, so that limits hold for it."""
TEMPLATE = "faults_template"
RECOVERY_SECONDS_MAX = 240.0
"""How long a server may recover that was ended in the midst of a rebuild, on a busy machine."""


@dataclass
class Servers:
    """What runs. `disk` is where Postgres has its data, where that is a small disk of its own."""

    postgres: EmbeddedPostgres
    redis: RedisServer
    to_postgres: Proxy
    to_redis: Proxy
    folder: Path
    disk: Path | None
    postgres_lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    redis_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def url(self, database: str) -> str:
        """How to reach Postgres straight, as its superuser."""
        return self.postgres.url(database)

    def program_url(self, database: str) -> str:
        """How the program reaches it: through the proxy."""
        return f"postgresql://{ROLE}@127.0.0.1:{self.to_postgres.port}/{database}?sslmode=disable"

    def direct_url(self, database: str) -> str:
        """The same role, past the proxy."""
        return self.postgres.url(database).replace("postgres@", f"{ROLE}@")

    async def admin(self, statement: str, database: str = "postgres") -> None:
        """Runs one statement as the superuser."""
        connection = await asyncpg.connect(self.url(database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def started(self) -> None:
        """Starts Postgres where it does not run, however it ended."""

        async def runs() -> bool:
            try:
                await asyncio.to_thread(self.postgres.start)
                await self.admin("SELECT")
            except (CannotConnect, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                return False
            return True

        await until(runs, seconds=RECOVERY_SECONDS_MAX)

    async def make_database(self, name: str) -> None:
        """An initialised database, made as a copy."""

        async def made() -> bool:
            try:
                await self.admin(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} OWNER {ROLE}")
            except asyncpg.ObjectInUseError:
                return False  # A worker of the server is looking at the template.
            return True

        await until(made, seconds=60)

    async def prepare(self, settings: Mapping[str, str]) -> None:
        """Makes the role and the database that others are copies of."""
        await self.admin(f"CREATE ROLE {ROLE} LOGIN")
        await self.admin(f"CREATE DATABASE {TEMPLATE} OWNER {ROLE}")
        place = Place(self.folder, "--database", self.direct_url(TEMPLATE), **settings)
        await place.ok("init")


def end_in_order() -> None:
    """Lets SIGTERM end this program as Ctrl-C does: nothing that it started, or mounted, stays."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)


@contextmanager
def small_disk(folder: Path, disk_mib: int) -> Iterator[Path | None]:
    """A disk in memory, mounted there; None where only root could do that."""
    if os.geteuid() != 0:
        yield None
        return
    options = f"size={disk_mib}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@asynccontextmanager
async def servers(
    settings: Mapping[str, str], *, disk_mib: int = DISK_MIB
) -> AsyncIterator[Servers]:
    """Postgres and Redis, running, with proxies before them, while it is entered."""
    binary = next(iter(redis_binaries().values()))
    async with AsyncExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        (folder / "postgres").mkdir(mode=0o700)
        disk = stack.enter_context(small_disk(folder / "postgres", disk_mib))
        postgres = EmbeddedPostgres(folder, configuration=CONFIGURATION + SMALL_SERVER)
        postgres.start()
        stack.callback(postgres.stop, "immediate")
        redis = await stack.enter_async_context(RedisServer(binary, folder / "redis"))
        socket = str(postgres.socket_folder / ".s.PGSQL.5432")
        to_postgres = await stack.enter_async_context(Proxy(to_socket(socket)))
        to_redis = await stack.enter_async_context(Proxy(to_port(redis.port)))
        ready = Servers(postgres, redis, to_postgres, to_redis, folder, disk)
        await ready.prepare(settings)
        yield ready


def fill(disk: Path) -> None:
    """Leaves no byte free on a disk."""
    ballast = disk / "ballast"
    with ballast.open("ab") as file, contextlib.suppress(OSError):
        free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        os.posix_fallocate(file.fileno(), ballast.stat().st_size, max(free, 1))


def relieve(disk: Path) -> None:
    """Gives the room back."""
    (disk / "ballast").unlink(missing_ok=True)
