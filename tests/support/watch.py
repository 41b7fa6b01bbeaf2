"""Looks at a database from outside, whatever happens to its server in the meantime."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Self

import asyncpg

from projector.database import close_quietly, is_transient
from projector.declare import Fed
from tests.support.engine import ALL
from tests.support.harness import until

HEAD = "SELECT head FROM projector.log_head"
CHECKPOINT = "SELECT log_offset FROM projector.checkpoint WHERE projection = $1"
OF_LOG = ", ".join(f"'{d.name}'" for d in ALL if not isinstance(d, Fed))
"""The projections whose checkpoints are offsets of the log to which they come."""
TABLES_AT = f"""
SELECT min(c.log_offset) FROM projector.checkpoint AS c WHERE c.projection IN ({OF_LOG})
"""
PROGRESS = """
SELECT (SELECT head FROM projector.log_head) + sum(log_offset) FROM projector.checkpoint
WHERE projection IN ('post', 'follow', 'like', 'repost')
"""
BEHIND = f"""
SELECT EXISTS (SELECT FROM projector.outbox) OR EXISTS (
    SELECT FROM projector.checkpoint, projector.log_head
    WHERE projection IN ({OF_LOG}) AND log_offset < head)
"""
OWNERS = """
SELECT substr(name, 12), split_part(owner, ':', 2)::int FROM projector.lease
WHERE name LIKE 'projection %'
"""
COLUMNS = """
SELECT string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position)
FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2
    AND column_name NOT IN ('appended_at', 'created_at', 'id', 'attempts', 'source_cursor')
"""
TABLES = """
SELECT schemaname, tablename FROM pg_tables WHERE schemaname = 'bsky'
    OR (schemaname = 'projector'
        AND (tablename IN ('event_log', 'dead_letter') OR tablename LIKE 'duplicate\\_%'))
ORDER BY 1, 2
"""


class Watch:
    """Asks questions over one connection, which is made again when it breaks; for a server that is
    away it waits no longer than `away_seconds_max`."""

    def __init__(self, url: str, away_seconds_max: float = 120.0) -> None:
        self.url = url
        self.away_seconds_max = away_seconds_max
        self._connection: asyncpg.Connection | None = None
        self._asking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await close_quietly(self._connection)

    async def _ask(self, query: str, *values: object) -> list[asyncpg.Record]:
        # One at a time: of two who find no connection, one would be lost.
        async with self._asking:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self.url, timeout=10, command_timeout=120)
            try:
                return await self._connection.fetch(query, *values)
            except Exception as error:
                if is_transient(error):
                    await close_quietly(self._connection)
                raise

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The answer; while the server is away, waits for it."""
        answers: list[list[asyncpg.Record]] = []

        async def answered() -> bool:
            try:
                answers.append(await self._ask(query, *values))
            except Exception as error:
                if not is_transient(error):
                    raise
            return bool(answers)

        await until(answered, seconds=self.away_seconds_max)
        return [tuple(row) for row in answers[0]]

    async def value(self, query: str, *values: object) -> Any:
        """The first cell of the answer's first row; None where there is no row."""
        rows = await self.rows(query, *values)
        return rows[0][0] if rows else None

    async def count(self, query: str, *values: object) -> int:
        """The number that a query gives."""
        return int(await self.value(query, *values))

    async def execute(self, statement: str, *values: object) -> None:
        """Changes something by hand."""
        await self.rows(statement, *values)

    async def until(self, ask: Callable[[], Awaitable[int]], least: int) -> int:
        """Waits until an answer has grown to `least`; returns the answer."""
        answers: list[int] = []

        async def reached() -> bool:
            answers[:] = [await ask()]
            return answers[0] >= least

        await until(reached, seconds=120)
        return answers[0]

    async def head(self) -> int:
        return await self.count(HEAD)

    async def checkpoint(self, projection: str) -> int:
        return await self.count(CHECKPOINT, projection)

    async def progress(self) -> int:
        """The log's head and the checkpoints of the four greatest tables, added up."""
        return await self.count(PROGRESS)

    async def tables_at(self) -> int:
        """The offset through which all tables that are kept have been applied."""
        return await self.count(TABLES_AT)

    async def is_caught_up(self) -> bool:
        """Whether tables and counts have all that is in the log."""
        return not await self.value(BEHIND)

    async def owners(self) -> dict[str, int]:
        """By projection, the process whose lease it has."""
        return dict(await self.rows(OWNERS))

    async def owned_by(self, pid: int, projections: int = 6) -> bool:
        """Whether one process owns so many projections, and nobody else any."""
        owners = await self.owners()
        return len(owners) == projections and set(owners.values()) == {pid}

    async def fingerprints(self) -> dict[str, tuple[int, str | None]]:
        """Of every table of projections, and of the log: rows, and a digest of all columns.

        Left out is what the clock says, the numbers of dead letters, and the source's own places.
        """
        found = {}
        for schema, table in await self.rows(TABLES):
            columns = await self.value(COLUMNS, schema, table)
            ((count, digest),) = await self.rows(
                "SELECT count(*), md5(string_agg(md5(row), '' ORDER BY row)) FROM ("
                f' SELECT ROW({columns})::text COLLATE "C" AS row FROM {schema}."{table}") AS t'
            )
            found[table] = (count, digest)
        return found
