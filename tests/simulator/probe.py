"""Asks a live database, over a connection of its own, whether what must always hold does hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from events.tasks import end
from tests.simulator.oracle import COUNTS, LEFT_OUT

PAUSE_SECONDS = 0.05
LOG = """
SELECT head, (SELECT count(*) FROM projector.event_log), (SELECT max(log_offset)
    FROM projector.event_log), (SELECT min(log_offset) FROM projector.event_log)
FROM projector.log_head
"""
AWAY = (OSError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError,
        asyncpg.InternalClientError, asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError,
        asyncpg.UndefinedTableError, asyncpg.DeadlockDetectedError)  # fmt: skip
"""What a server says that is away for a while, or whose tables are being swapped."""


def counter_statement(aggregate: str, key: str, counter: str, table: str, by: str) -> str:
    """The keys for which invariant 7 does not hold; one statement, so one snapshot."""
    left_out = f' AND "{LEFT_OUT[counter]}" IS NOT TRUE' if counter in LEFT_OUT else ""
    return f"""
SELECT k, sum(n) FROM (
    SELECT "{key}"::text AS k, "{counter}" AS n FROM bsky.{aggregate}
    UNION ALL SELECT u.k, u.d FROM projector.outbox, unnest(keys, deltas) AS u(k, d)
        WHERE aggregate = '{aggregate}' AND counter = '{counter}'
    UNION ALL SELECT "{by}"::text, -1 FROM bsky."{table}" WHERE "{by}" IS NOT NULL{left_out}
) AS t GROUP BY k HAVING sum(n) <> 0 LIMIT 5
"""


STATEMENTS = [
    counter_statement(aggregate, key, counter, *by)
    for aggregate, (key, counters) in COUNTS.items()
    for counter, by in counters.items()
    if by is not None
]


class Probe:
    """Polls until told to stop; `complaints` is what it saw, `looks` how often it looked."""

    def __init__(self, url: str, *, whole_log: bool = True) -> None:
        self.url = url
        self.whole_log = whole_log
        self.complaints: list[str] = []
        self.looks = 0
        self._head = 0

    async def run(self) -> None:
        """Polls until cancelled, through every outage of the server."""
        while True:
            try:
                connection = await asyncpg.connect(self.url, timeout=5, command_timeout=30)
                try:
                    while True:
                        begun = time.monotonic()
                        await self.look(connection)
                        # Of large tables it is not to take more than half of a processor.
                        await asyncio.sleep(max(PAUSE_SECONDS, time.monotonic() - begun))
                finally:
                    connection.terminate()
            except (*AWAY, TimeoutError):
                await asyncio.sleep(PAUSE_SECONDS)

    async def look(self, connection: asyncpg.Connection) -> None:
        """Looks once: counters, and the log's density."""
        for statement in STATEMENTS:
            for row in await connection.fetch(statement):
                self._complain(f"a count is off by {row[1]} for {row[0]}: {statement.split()[7]}")
        head, count, last, first = await connection.fetchrow(LOG)
        if head < self._head:
            self._complain(f"the head went back from {self._head} to {head}")
        if self.whole_log and head and (count, last, first) != (head, head, 1):
            self._complain(f"of {head} offsets {count} are there, from {first} to {last}")
        self._head = head
        self.looks += 1

    def _complain(self, text: str) -> None:
        if text not in self.complaints and len(self.complaints) < 20:
            self.complaints.append(text)


@asynccontextmanager
async def probing(url: str, *, whole_log: bool = True) -> AsyncIterator[Probe]:
    """Polls in the background while it is entered; once more at the end."""
    probe = Probe(url, whole_log=whole_log)
    polling = asyncio.create_task(probe.run())
    try:
        yield probe
        connection = await asyncpg.connect(url)
        try:
            await probe.look(connection)
        finally:
            await connection.close()
    finally:
        await end(polling)
