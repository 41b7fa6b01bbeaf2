"""Leases: who runs which projection or source; and the wake-ups that Postgres sends.

A lease only saves work. What keeps two owners apart, whatever they believe, is the
compare-and-swap on the checkpoint or on the source's counter (invariant 2). An owner renews its
leases from one connection; a lease is free when it ran out, or at once when that connection is
gone, so that a killed daemon is replaced within a second.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.log import LOG_CHANNEL
from projector.database import Database, close_quietly, is_transient, one_line

log = logging.getLogger(__name__)

OUTBOX_CHANNEL: Final = "projector_outbox"

# backend_start is hidden from other roles: then only the clock may take a lease.
TAKE: Final = """
INSERT INTO projector.lease AS l (name, owner, backend_pid, backend_start, until)
SELECT $1, $2, pid, backend_start, clock_timestamp() + $3 * interval '1 second'
FROM pg_stat_activity WHERE pid = pg_backend_pid()
ON CONFLICT (name) DO UPDATE SET owner = excluded.owner, backend_pid = excluded.backend_pid,
    backend_start = excluded.backend_start, until = excluded.until
WHERE l.owner = excluded.owner OR l.until < clock_timestamp() OR NOT EXISTS (
    SELECT FROM pg_stat_activity AS a WHERE a.pid = l.backend_pid
        AND (a.backend_start = l.backend_start OR a.backend_start IS NULL))
RETURNING name
"""
RENEW: Final = """
UPDATE projector.lease SET until = clock_timestamp() + $2 * interval '1 second'
WHERE owner = $1 AND name = ANY($3::text[]) RETURNING name
"""
RELEASE: Final = "DELETE FROM projector.lease WHERE owner = $1 AND name = $2"
OWNER: Final = "SELECT owner FROM projector.lease WHERE name = $1"


def owner_name() -> str:
    """A name for this process that nobody else has: host, process, and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class LeaseKeeper:
    """Holds the leases of one daemon and passes on NOTIFY, over one connection."""

    def __init__(
        self,
        database: Database,
        *,
        lease_seconds: float = 5.0,
        poll_seconds: float = 1.0,
        on_log: Callable[[int], Awaitable[None]] | None = None,
        on_outbox: Callable[[], None] | None = None,
    ) -> None:
        self.database = database
        self.owner = owner_name()
        self.lease_seconds = lease_seconds
        self.poll_seconds = poll_seconds
        self.on_log = on_log
        self.on_outbox = on_outbox
        self.held: set[str] = set()
        self._used: set[str] = set()
        self.asked: set[str] = set()
        self._connection: asyncpg.Connection | None = None
        self._lock = asyncio.Lock()
        self._notified: set[asyncio.Task[None]] = set()

    async def take(self, name: str) -> bool:
        """Takes a lease, or keeps it; False when another owner holds it."""
        async with self._lock:
            connection = await self._connected()
            taken = await connection.fetchval(TAKE, name, self.owner, self.lease_seconds)
        self.asked.add(name)
        if taken is None:
            self.held.discard(name)
            return False
        # Recovery: the lease is free as soon as the server has seen our connection go.
        crash_point("lease.taken")
        self.held.add(name)
        return True

    async def take_within(self, name: str, seconds: float) -> bool:
        """Takes a lease as soon as it is free, waiting at most `seconds`."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not await self.take(name):
            if loop.time() >= deadline:
                return False
            await asyncio.sleep(0.1)
        return True

    @contextmanager
    def used(self, names: Sequence[str]) -> Iterator[None]:
        """While leases are worked under, one that is lost is taken again as soon as it is free.

        Who lost one works on until it meets its new owner; if that one is gone by then, or sleeps,
        nobody else would say that there is an owner.
        """
        self._used.update(names)
        try:
            yield
        finally:
            self._used.difference_update(names)

    async def holder(self, name: str) -> str | None:
        """Who holds a lease."""
        async with self._lock:
            holder: str | None = await (await self._connected()).fetchval(OWNER, name)
        return holder

    async def release(self, name: str) -> None:
        """Gives a lease back, so that another may take it at once."""
        self.held.discard(name)
        try:
            async with self._lock:
                await (await self._connected()).execute(RELEASE, self.owner, name)
                crash_point("lease.released")  # Recovery: it is free, and nothing is left to do.
        except Exception as error:
            if not is_transient(error):
                raise
            log.info("lease %s not given back, it runs out: %s", name, one_line(error))

    async def run(self) -> None:
        """Renews the leases until cancelled; a lost connection is made again."""
        while True:
            try:
                await self._renew()
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("leases not renewed: %s", one_line(error))
                await self._drop()
            await asyncio.sleep(min(self.poll_seconds, self.lease_seconds / 4))

    async def _renew(self) -> None:
        async with self._lock:
            connection = await self._connected()
            # Not all that are ours in the table: one whose release failed has to run out.
            names = sorted(self.held)
            rows = await connection.fetch(RENEW, self.owner, self.lease_seconds, names)
        crash_point("lease.renewed")  # Recovery: free at once, however long it was to run.
        for name in self.held.intersection(names) - {row["name"] for row in rows}:
            self._lost(name)
        for name in sorted(self._used - self.held):
            if await self.take(name):
                log.warning("lease %s was free again, and is taken back", name)

    def _lost(self, name: str) -> None:
        log.warning("lease %s was taken by another", name)
        self.held.discard(name)

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        connection = await self.database.connect("leases")
        try:
            await connection.add_listener(LOG_CHANNEL, self._on_log)
            await connection.add_listener(OUTBOX_CHANNEL, self._on_outbox)
        except (Exception, asyncio.CancelledError):
            # Nobody else knows of it yet.
            await close_quietly(connection)
            raise
        self._connection = connection
        for name in list(self.held):
            # The leases point to the connection that is gone: make them point to this one.
            if not await connection.fetchval(TAKE, name, self.owner, self.lease_seconds):
                self._lost(name)
        return connection

    def _on_log(self, _connection: object, _pid: int, _channel: str, payload: object) -> None:
        if self.on_log is not None:
            task = asyncio.ensure_future(self._pass_on(int(str(payload))))
            self._notified.add(task)
            task.add_done_callback(self._notified.discard)

    async def _pass_on(self, head: int) -> None:
        if self.on_log is not None:
            await self.on_log(head)

    def _on_outbox(self, _connection: object, _pid: int, _channel: str, _payload: object) -> None:
        if self.on_outbox is not None:
            self.on_outbox()

    async def _drop(self) -> None:
        await close_quietly(self._connection)
        self._connection = None

    async def close(self) -> None:
        """Gives all leases back and closes the connection."""
        try:
            for name in list(self.held):
                await self.release(name)
        finally:
            for task in list(self._notified):
                task.cancel()
            await self._drop()
