"""The servers on which cases run, and databases that are ready for them."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from projector.embedded_postgres import CONFIGURATION, EmbeddedPostgres
from tests.simulator.case import SMALL, Arm, Case, Result
from tests.simulator.field import Failed
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.postgres import FAST
from tests.support.redis_server import RedisServer, redis_binaries

_grounds = itertools.count(1)


class Ground:
    """Makes a database for each case, out of a template that is made once."""

    def __init__(self, server: EmbeddedPostgres, redis: RedisServer | None, folder: Path) -> None:
        self.server = server
        self.redis = redis
        self.folder = folder
        self._name = f"ground_{os.getpid()}_{next(_grounds)}"
        self._numbers = itertools.count(1)
        self._templates: set[str] = set()
        self._making = asyncio.Lock()

    async def run(
        self,
        seed: int,
        arms: Sequence[Arm],
        *,
        arriving: bool = False,
        rebuilt: Sequence[str] = ("--all",),
    ) -> Result:
        """Runs one case; what goes wrong on the way is a complaint as well.

        Where only commands are killed, they run when all events have come, or, where these are
        `arriving`, in the midst of them. `rebuilt` is what a rebuild is to build.
        """
        after = all(arm.process not in LIVE_PROCESSES for arm in arms) and bool(arms)
        after = after and not arriving
        async with self._making:
            template = await self._template(seed if after else None)
        name = f"{self._name}_{next(self._numbers)}"
        await self._admin(f"CREATE DATABASE {name} TEMPLATE {template}")
        folder = self.folder / name
        folder.mkdir()
        url = self.server.url(name)
        try:
            case = Case(seed, arms, folder, url, self.redis, is_done=after, rebuilt=rebuilt)
            return await case.run()
        except (Failed, AssertionError, TimeoutError) as error:
            return Result([f"{type(error).__name__}: {error}"], [])
        finally:
            await self._admin(f"DROP DATABASE {name} WITH (FORCE)")

    async def _template(self, seed: int | None) -> str:
        """An initialised database; with a seed, one in which its history has been run."""
        name = f"{self._name}_empty" if seed is None else f"{self._name}_done_{seed}"
        if name in self._templates:
            return name
        if seed is None:
            await self._admin(f"CREATE DATABASE {name}")
            await Place(self.folder, "--database", self.server.url(name), **SMALL).ok("init")
        else:
            await self._admin(f"CREATE DATABASE {name} TEMPLATE {await self._template(None)}")
            folder = self.folder / name
            folder.mkdir()
            done = await Case(seed, (), folder, self.server.url(name)).run()
            assert not done.complaints, done.complaints
        self._templates.add(name)
        return name

    async def close(self) -> None:
        """Drops the templates."""
        for name in self._templates:
            await self._admin(f"DROP DATABASE {name}")

    async def _admin(self, statement: str) -> None:
        connection = await asyncpg.connect(self.server.url())
        try:

            async def done() -> bool:
                try:
                    await connection.execute(statement)
                except asyncpg.ObjectInUseError:
                    return False  # A worker of the server is looking at the template.
                return True

            await until(done)
        finally:
            await connection.close()


LIVE_PROCESSES = ("ingest", "daemon", "daemon-end", "rival", "feed", "tail")


@asynccontextmanager
async def ground(server: EmbeddedPostgres, *, with_redis: bool = True) -> AsyncIterator[Ground]:
    """A ground on a server that runs, with a Redis of its own where there is one to be had."""
    binary = next(iter(redis_binaries().values()), None) if with_redis else None
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sim")))
        redis = None
        if binary is not None:
            redis = await stack.enter_async_context(RedisServer(binary, folder / "redis"))
        ready = Ground(server, redis, folder)
        stack.push_async_callback(ready.close)
        yield ready


@asynccontextmanager
async def own_ground() -> AsyncIterator[Ground]:
    """A ground with a server of its own. Only processes are killed, so it need not sync."""
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder), configuration=CONFIGURATION + FAST)
        server.start()
        try:
            async with ground(server) as ready:
                yield ready
        finally:
            server.stop("immediate")
