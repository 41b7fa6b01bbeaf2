"""Whose the CPU time is, while many projectors share a process and a server.

In our process: every task is measured step by step, and belongs to the projector whose task it is,
or whose task began it. In Postgres: every connection has a process, and the name of its role.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection, Coroutine, Generator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final, TypeVar, cast

import asyncpg

from ops.bench.processes import cpu_seconds
from projector.database import Database

T = TypeVar("T")

LOOP: Final = "loop"
"""Whatever runs outside of all tasks: the loop itself, and what it reads off connections."""
MEASURING: Final = "measuring"
EVERY_SECONDS: Final = 0.1
"""A connection that ends takes with it what it used since it was last looked at."""
ROLES: Final = """
SELECT pid, split_part(application_name, '/', 2) FROM pg_stat_activity
WHERE application_name LIKE 'projector/%'
"""
_who: ContextVar[str] = ContextVar("who", default=LOOP)


class Meter:
    """CPU seconds of this thread, by whose they are; `names` are those of tasks."""

    def __init__(self, names: Collection[str]) -> None:
        self.names = {*names, MEASURING}
        self.seconds: Counter[str] = Counter()
        self._now = LOOP
        self._since = time.thread_time()

    def switch(self, to: str) -> str:
        """What is used from now on is somebody's; returns whose it was until now."""
        before, now = self._now, time.thread_time()
        self.seconds[before] += now - self._since
        self._now, self._since = to, now
        return before

    def task(
        self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T], **more: Any
    ) -> asyncio.Task[T]:
        """Makes a task as the loop does, but measured."""
        return asyncio.Task(Metered(self, work), loop=loop, **more)


class Metered(Coroutine[Any, Any, T]):
    """A coroutine each step of which is measured: as `label`'s, or as that of its task."""

    def __init__(self, meter: Meter, work: Coroutine[Any, Any, T], label: str = "") -> None:
        self._meter = meter
        self._work = work
        self._label = label

    def send(self, value: Any) -> Any:
        """One step."""
        before = self._meter.switch(self._label or self._find())
        try:
            return self._work.send(value)
        finally:
            self._meter.switch(before)

    def throw(self, kind: Any, value: Any = None, _traceback: Any = None) -> Any:
        """One step, which begins with an error."""
        before = self._meter.switch(self._label or self._find())
        try:
            return self._work.throw(kind if value is None else value)
        finally:
            self._meter.switch(before)

    def close(self) -> None:
        """Ends it before its time."""
        self._work.close()

    def __await__(self) -> Generator[Any, Any, T]:
        # Who waits for it hands on what it is sent or thrown.
        return cast("Generator[Any, Any, T]", self)

    def __iter__(self) -> Metered[T]:
        return self

    def __next__(self) -> Any:
        return self.send(None)

    def _find(self) -> str:
        task = asyncio.current_task()
        assert task is not None
        if task.get_name() in self._meter.names:
            _who.set(task.get_name())
        self._label = _who.get()
        return self._label


class Backends:
    """CPU seconds of Postgres, by the role of the connection."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.roles: dict[int, str] = {}
        self._first: dict[int, float] = {}
        self._last: dict[int, float] = {}

    @property
    def seconds(self) -> Counter[str]:
        """What each role used while it was looked at."""
        found: Counter[str] = Counter()
        for pid, role in self.roles.items():
            found[role] += self._last[pid] - self._first[pid]
        return found

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Looks at them again and again for as long as the body."""
        connection = await self.database.connect(MEASURING)
        looking = asyncio.create_task(self._run(connection), name=MEASURING)
        try:
            yield
            await self._look(connection)
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking
            await connection.close()

    async def _run(self, connection: asyncpg.Connection) -> None:
        while True:
            await self._look(connection)
            await asyncio.sleep(EVERY_SECONDS)

    async def _look(self, connection: asyncpg.Connection) -> None:
        for pid, role in await connection.fetch(ROLES):
            self.roles[pid] = role
            # One that is new began to be used after the look before.
            self._first.setdefault(pid, cpu_seconds(pid) if not self._last else 0.0)
        for pid in self.roles:
            self._last[pid] = max(cpu_seconds(pid), self._last.get(pid, 0.0))
