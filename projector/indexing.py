"""Indexing: the constraints and indexes of a shadow, made side by side once its rows are there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from projector.home import Home

DEFINITIONS: Final = "SELECT definitions FROM projector.build WHERE name = $1"
MADE: Final = """
UPDATE projector.build SET definitions = array_remove(definitions, $2) WHERE name = $1
"""

Connect = Callable[[], Awaitable[asyncpg.Connection]]
"""Opens a connection to make an index by."""
Turn = Callable[[], AbstractAsyncContextManager[None]]
"""Waits for a place to make an index in."""


class Indexing:
    """Makes indexes, each over a connection of its own, when it has its `turn`."""

    def __init__(self, connect: Connect, turn: Turn, memory_mib: int) -> None:
        self.connect = connect
        self.turn = turn
        self.memory_mib = memory_mib

    async def run(self, connection: asyncpg.Connection, home: Home) -> None:
        """Makes what is left of a build's indexes, then the constraints that use them.

        Raises what Postgres says of a row that no index takes.
        """
        left = await connection.fetchval(DEFINITIONS, home.name)
        constraints = [text for text in left if text.startswith("ALTER TABLE")]
        await self.make([text for text in left if text not in constraints], home)
        for text in constraints:
            await self._make(connection, text, home)

    async def make(self, definitions: Sequence[str], home: Home) -> None:
        """Makes indexes side by side; those that the build's list has are taken off it."""
        work = [asyncio.create_task(self._beside(text, home)) for text in definitions]
        try:
            await asyncio.gather(*work)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _beside(self, definition: str, home: Home) -> None:
        async with self.turn():
            connection = await self.connect()
            try:
                await self._make(connection, definition, home)
            finally:
                await connection.close()

    async def _make(self, connection: asyncpg.Connection, definition: str, home: Home) -> None:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL maintenance_work_mem = '{self.memory_mib}MB'")
            await connection.execute(definition)
            await connection.execute(MADE, home.name, definition)
        crash_point("rebuild.indexed")  # Recovery: the others are made.
