"""Bulk: the log into a projection's shadow, much faster than window by window.

Most records have one event in all of the log, a create. Such rows go in by COPY, into a table
without keys and indexes, window by window in no order. Of all other records only the keys are
noted; once the log is through, their rows are taken out again (`busy`), indexes are made
(`indexing`), and their events, a few in a hundred, are applied in order the way windows are
(`settle`).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.rows import times_in_microseconds
from projector import shadow
from projector.copying import copy_rows
from projector.database import is_data_error, one_line
from projector.declare import Projection, Row
from projector.errors import CheckpointMoved
from projector.fold import BAD_RECORD, STEP_EVENTS, Letter, Window, invalid
from projector.home import Home
from projector.statements import PUT_LETTER

REFUSED: Final = """
WITH there AS (SELECT stage, reason, error, log_offset FROM projector.dead_letter
    WHERE projection = $1 AND stage = 'apply'),
copied AS (INSERT INTO projector.dead_letter (projection, stage, reason, error, log_offset)
    SELECT $2, stage, reason, error, log_offset FROM there
    ON CONFLICT (projection, log_offset) WHERE projection IS NOT NULL DO NOTHING)
SELECT log_offset FROM there
"""
LOADED: Final = """
UPDATE projector.build SET loaded = loaded + int8multirange(int8range($3, $4, '(]'))
WHERE name = $1 AND version = $2 AND phase = 'load' AND NOT loaded && int8range($3, $4, '(]')
RETURNING true
"""


@dataclass(frozen=True, slots=True)
class SortedWindow:
    """A window, sorted: rows of keys with one create, by at-uri; keys with one that makes no row;
    keys with anything else; invalid records."""

    window: Window
    rows: dict[str, Row]
    rowless: set[str]
    busy: set[str]
    letters: list[Letter]


class BulkLoader:
    """Loads windows of the log into a shadow, in any order; each is noted as loaded with it."""

    def __init__(self, projection: Projection, home: Home) -> None:
        self.projection = projection
        self.home = home
        self.refused: frozenset[int] = frozenset()
        self._decode = projection.decoder()

    async def open(self, connection: asyncpg.Connection) -> None:
        """Takes over the dead letters of events that Postgres refuses: they stay what they are."""
        rows = await connection.fetch(REFUSED, self.projection.name, self.home.name)
        self.refused = frozenset(row["log_offset"] for row in rows)

    async def load(self, connection: asyncpg.Connection, sorted_window: SortedWindow) -> None:
        """Loads a window; when it returns all of it is committed, else nothing is.

        An event whose row Postgres refuses becomes a dead letter. Raises `CheckpointMoved` where
        somebody else has loaded of it.
        """
        window = sorted_window.window
        try:
            await self._write(connection, sorted_window)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, TypeError, ValueError) as error:
            if isinstance(error, asyncpg.PostgresError) and not is_data_error(error):
                raise
            halves = window.halves()
            if halves is None:
                event = (*window.commits, *window.removals)[0]
                letter = Letter(event.log_offset, "apply", "refused", one_line(error)[:1000])
                await self._write(connection, SortedWindow(window, {}, set(), set(), [letter]))
                return
            for half in halves:
                await self.load(connection, await self.sort(half))

    async def sort(self, window: Window) -> SortedWindow:
        """Tells rows that can be loaded from keys that have more than one event."""
        rows: dict[str, Row] = {}
        rowless: set[str] = set()
        busy: set[str] = set()
        letters: list[Letter] = []
        for done, event in enumerate(window.commits, 1):
            if not done % STEP_EVENTS:
                await asyncio.sleep(0)
            if event.log_offset in self.refused:
                continue
            uri = event.uri
            if event.action != "create" or uri in busy or uri in rowless or uri in rows:
                rows.pop(uri, None)
                busy.add(uri)
                continue
            try:
                row = self._decode(event)
            except BAD_RECORD as error:
                letters.append(invalid(event, error))
                continue
            if row is None:
                rowless.add(uri)
            else:
                rows[uri] = row
        return SortedWindow(window, rows, rowless, busy, letters)

    async def _write(self, connection: asyncpg.Connection, sorted_window: SortedWindow) -> None:
        name = self.home.name
        window, rows = sorted_window.window, sorted_window.rows
        letters = sorted_window.letters
        keys = {"build_busy": sorted_window.busy, "build_rowless": sorted_window.rowless}
        removed = [(event.did, event.log_offset) for event in window.removals]
        async with connection.transaction():
            copy = connection.copy_records_to_table
            schema = self.home.schema
            if rows:
                await copy_rows(connection, self.projection, self.home, rows.values())
            for helper, uris in keys.items():
                if uris:
                    await copy(helper, schema_name=schema, records=[(u,) for u in sorted(uris)])
            if removed:
                await copy("build_removed", schema_name=schema, records=removed)
            if letters:
                await connection.executemany(
                    PUT_LETTER, [(name, x.log_offset, x.stage, x.reason, x.error) for x in letters]
                )
            # Last, since from here on the other loaders of this projection wait.
            if not await connection.fetchval(
                LOADED, name, self.projection.version, window.after, window.through
            ):
                raise CheckpointMoved(name)
        crash_point("rebuild.window")  # Recovery: it is not loaded again.


async def finish(connection: asyncpg.Connection, projection: Projection, home: Home) -> None:
    """Drops the helper tables; the shadow then follows the log's head."""
    helpers = (
        shadow.busy(home), shadow.rowless(home), shadow.removed(home), shadow.busy_events(home)
    )  # fmt: skip
    async with connection.transaction():
        await connection.execute(f"DROP TABLE IF EXISTS {', '.join(helpers)}")
        for table in home.tables(projection):
            await connection.execute(f"ALTER TABLE {table} RESET (autovacuum_enabled)")
        await shadow.enter(connection, home, shadow.CATCH_UP)


async def prepare(connection: asyncpg.Connection, workers: int) -> None:
    """Sets a connection up for a build: so many processes may help Postgres with one statement."""
    await times_in_microseconds(connection)
    await connection.execute(f"SET max_parallel_workers_per_gather = {workers}")
    await connection.execute(f"SET max_parallel_maintenance_workers = {workers}")
    await connection.execute("SET synchronous_commit = off")
