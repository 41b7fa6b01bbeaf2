"""The one place that reads the database for the status page and the metrics, every few seconds.

Whoever asks is given the last observation, so that neither a scrape nor a reader of the page ever
waits for Postgres; each says how old it is.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec

from projector import tally
from projector.database import Database, close_quietly, one_line
from projector.declare import Kept
from projector.disk import DiskFacts
from projector.facts import (
    LetterFacts,
    LogFacts,
    RedisFacts,
    read_connections,
    read_letters,
    read_log,
    read_redis,
)
from projector.failures import Failure
from projector.movers import Movers
from projector.samples import Samples
from projector.status import Status
from projector.surroundings import Streams, look
from projector.troubles import LOOKS

log = logging.getLogger(__name__)

READ_SECONDS_MAX: Final = 10.0
"""A read of the database that takes longer is given up."""

STATEMENT_SETTINGS: Final = {
    "statement_timeout": "5s",
    "default_transaction_read_only": "on",
    "max_parallel_workers_per_gather": "0",
}
SLOW_SECONDS: Final = 10.0
"""How often is read what costs a look at files: sizes."""


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What the database held at `at` (seconds since 1970); to read it took `seconds`."""

    at: float
    seconds: float
    status: Status
    log: LogFacts
    disk: DiskFacts | None
    redis: list[RedisFacts]
    failures: list[Failure]
    connections: dict[str, int]
    letters: list[LetterFacts]


class Observer:
    """Observes until cancelled. Its trouble is only its own: it is said, and it tries again.

    Without a database it looks only at the streams: addresses of Redis, to which may be added.
    """

    def __init__(
        self,
        database: Database | None,
        declarations: Sequence[Kept],
        *,
        streams: list[str] | None = None,
        group: str = "projector",
        stream_entries_max: int = 1_000_000,
        movers: Movers | None = None,
        seconds: float = 2.0,
    ) -> None:
        self.database = database
        self.declarations = declarations
        self.streams = [] if streams is None else streams
        self.seconds = seconds
        self.group = group
        self.stream_entries_max = stream_entries_max
        self.movers = movers
        self.begun_at = time.time()
        self.latest: Observation | None = None
        self.redis: list[RedisFacts] = []
        self.error: str | None = None
        self.looks = 0
        self.is_closed = False
        self.samples = Samples(seconds)
        self._connection: asyncpg.Connection | None = None
        self._looks: deque[float] = deque(maxlen=LOOKS)
        self._sizes: tuple[float, LogFacts] | None = None
        self._looked = asyncio.Condition()

    async def run(self) -> None:
        """Looks, and looks again."""
        try:
            while True:
                try:
                    await self.look()
                except Exception:
                    # A bug of the page's must not make it go blind, nor stop the work.
                    log.exception("status page: a look failed")
                await asyncio.sleep(self.seconds)
        finally:
            await close_quietly(self._connection)

    async def look(self) -> None:
        """Looks once; raises nothing but a cancellation."""
        if self.streams:
            self.redis = [await read_redis(text, self.group) for text in self.streams]
        if self.database is not None:
            await self._look_at(self.database)
        async with self._looked:
            self.looks += 1
            self._looked.notify_all()

    async def after(self, look: int) -> int:
        """Waits for a look later than the `look`-th, or the end; returns the number of looks."""
        async with self._looked:
            await self._looked.wait_for(lambda: self.looks > look or self.is_closed)
            return self.looks

    async def close(self) -> None:
        """Lets all go who wait."""
        self.is_closed = True
        async with self._looked:
            self._looked.notify_all()

    async def _look_at(self, database: Database) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS_MAX):
                self.latest = await self._observe(database)
        # Whatever it is: the page is told, and the work goes on.
        except Exception as error:
            tally.READ_FAILURES.add(1)
            if self.error is None:
                log.warning("status page: the database cannot be read: %s", one_line(error))
            self.error = one_line(error)[:300]
            await close_quietly(self._connection)
            self._connection = None
        else:
            self.error = None
            self.samples.take(self.latest.at, self.latest.status)

    async def _observe(self, database: Database) -> Observation:
        begun = time.monotonic()
        if self._connection is None or self._connection.is_closed():
            self._connection = await database.connect("status", **STATEMENT_SETTINGS)
        connection = self._connection
        log_facts = await self._read_sizes(connection)
        streams = Streams(self.group, self.stream_entries_max, self.redis)
        status, around = await look(
            connection, self.declarations, streams, log_facts, self._looks, list(self.samples.kept)
        )
        has_letters = bool(status.dead_letters)
        return Observation(
            status=status,
            log=log_facts,
            disk=around.disk,
            redis=around.redis,
            failures=around.failures,
            connections=await read_connections(connection),
            letters=await read_letters(connection) if has_letters else [],
            at=time.time(),
            seconds=time.monotonic() - begun,
        )

    async def _read_sizes(self, connection: asyncpg.Connection) -> LogFacts:
        now = time.monotonic()
        if self._sizes is None or now - self._sizes[0] > SLOW_SECONDS:
            self._sizes = (now, await read_log(connection))
        return self._sizes[1]
