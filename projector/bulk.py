"""Bulk: the log into a projection's shadow, much faster than window by window.

Most records have one event in all of the log, a create. Such rows go in by COPY, into a table
without keys and indexes. Of all other records only the keys are noted; once the log is through,
their rows are taken out again, keys are made, and their events, a few in a hundred, are applied in
order the way windows are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.event import Event
from events.history import WholeLog
from events.rows import EVENT, fetch_events, times_in_microseconds
from projector import shadow
from projector.apply import TableWriter
from projector.database import is_data_error, one_line
from projector.declare import Projection, Row
from projector.errors import CheckpointMoved
from projector.fold import BAD_RECORD, STEP_EVENTS, Folder, Letter, Window, invalid
from projector.home import Home, listed
from projector.statements import MOVE_CHECKPOINT, PUT_LETTER

SETTLED_EVENTS: Final = 10_000
"""How many events of busy keys are applied in one transaction."""

MEMORY: Final = "SET LOCAL work_mem = '128MB'"
REFUSED: Final = """
WITH there AS (SELECT stage, reason, error, log_offset FROM projector.dead_letter
    WHERE projection = $1 AND stage = 'apply'),
copied AS (INSERT INTO projector.dead_letter (projection, stage, reason, error, log_offset)
    SELECT $2, stage, reason, error, log_offset FROM there
    ON CONFLICT (projection, log_offset) WHERE projection IS NOT NULL DO NOTHING)
SELECT log_offset FROM there
"""
SETTLED: Final = "UPDATE projector.build SET settled_offset = $2 WHERE name = $1"
NEXT_DEFINITION: Final = "SELECT definitions[1] FROM projector.build WHERE name = $1"
MADE: Final = "UPDATE projector.build SET definitions = definitions[2:] WHERE name = $1"
ARCHIVED: Final = "SELECT coalesce(max(end_offset), 1) FROM projector.log_archive"
BUSY: Final = "SELECT uri FROM {busy} WHERE uri = ANY($1::text[])"
BUSY_EVENTS: Final = """
SELECT {event} FROM projector.event_log AS e
WHERE log_offset > $1 AND log_offset <= $2 AND ((kind = 'commit' AND collection = $3 AND EXISTS (
        SELECT FROM {busy} AS b WHERE b.uri = 'at://' || did || '/' || collection || '/' || rkey))
    OR (kind = 'account' AND action = 'deleted') OR (kind = 'sync' AND action = 'reset'))
ORDER BY log_offset
"""
NOTE_REPEATED: Final = "INSERT INTO {busy} SELECT uri FROM {base} GROUP BY uri HAVING count(*) > 1"
NOTE_REMOVED: Final = """
INSERT INTO {busy} SELECT uri FROM {base} WHERE creator IN (SELECT did FROM {removed})
"""
NOTE_RIVALS: Final = """
INSERT INTO {busy} SELECT b.uri FROM {base} AS b JOIN (
    SELECT {claim} FROM {base} GROUP BY {claim} HAVING count(*) > 1) AS c USING ({claim})
"""
TAKE_OUT: Final = """
DELETE FROM {base} AS b USING (SELECT DISTINCT uri FROM {busy}) AS o WHERE b.uri = o.uri
"""


@dataclass(frozen=True, slots=True)
class SortedWindow:
    """A window, sorted: rows of keys with one create, by at-uri; keys with anything else; invalid
    records."""

    window: Window
    rows: dict[str, Row]
    busy: set[str]
    letters: list[Letter]


class BulkLoader:
    """Loads windows of the log into a shadow; each moves the shadow's checkpoint."""

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

        An event whose row Postgres refuses becomes a dead letter. Raises `CheckpointMoved`.
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
                await self._write(connection, SortedWindow(window, {}, set(), [letter]))
                return
            for half in halves:
                await self.load(connection, await self.sort(half))

    async def sort(self, window: Window) -> SortedWindow:
        """Tells rows that can be loaded from keys that have more than one event."""
        rows: dict[str, Row] = {}
        busy: set[str] = set()
        letters: list[Letter] = []
        for done, event in enumerate(window.commits, 1):
            if not done % STEP_EVENTS:
                await asyncio.sleep(0)
            if event.log_offset in self.refused:
                continue
            uri = event.uri
            if event.action != "create" or uri in busy or rows.pop(uri, None) is not None:
                busy.add(uri)
                continue
            try:
                row = self._decode(event)
            except BAD_RECORD as error:
                letters.append(invalid(event, error))
                continue
            if row is None:
                busy.add(uri)
            else:
                rows[uri] = row
        return SortedWindow(window, rows, busy, letters)

    async def _write(self, connection: asyncpg.Connection, sorted_window: SortedWindow) -> None:
        name, table = self.home.name, self.projection.table
        window, rows = sorted_window.window, sorted_window.rows
        busy, letters = sorted_window.busy, sorted_window.letters
        removed = sorted({event.did for event in window.removals})
        async with connection.transaction():
            moved = await connection.fetchval(
                MOVE_CHECKPOINT, name, self.projection.version, window.after, window.through,
                window.events, 0.0,
            )  # fmt: skip
            if moved is None:
                raise CheckpointMoved(name)
            copy = connection.copy_records_to_table
            schema = self.home.schema
            if rows:
                await copy(
                    table.name, schema_name=schema, columns=table.columns, records=rows.values()
                )
            if busy:
                await copy("build_busy", schema_name=schema, records=[(u,) for u in sorted(busy)])
            if removed:
                await copy("build_removed", schema_name=schema, records=[(did,) for did in removed])
            if letters:
                await connection.executemany(
                    PUT_LETTER, [(name, x.log_offset, x.stage, x.reason, x.error) for x in letters]
                )
        crash_point("rebuild.window")  # Recovery: loading goes on after this window.


async def take_out_busy(
    connection: asyncpg.Connection, beside: asyncpg.Connection, projection: Projection, home: Home
) -> None:
    """Notes all keys with more than one event, a removed account, or a rival for their claim, and
    takes their rows out of the table; the next phase then puts in what they come to.

    The two long searches run side by side, over both connections.
    """
    table = projection.table
    names = {
        "base": home.base(table),
        "busy": shadow.busy(home),
        "removed": shadow.removed(home),
        "claim": listed(table.unique or ()),
    }
    searches = [(connection, NOTE_REPEATED), *([(beside, NOTE_RIVALS)] if table.unique else [])]
    await asyncio.gather(*(_note(where, step.format(**names)) for where, step in searches))
    crash_point("rebuild.noted")  # Recovery: what is noted twice is noted all the same.
    async with connection.transaction():
        for step in (NOTE_REMOVED, TAKE_OUT):
            await connection.execute(step.format(**names))
        await connection.execute(f"CREATE INDEX ON {names['busy']} (uri)")
        await connection.execute(f"ANALYZE {names['busy']}")
        await shadow.enter(connection, home, shadow.KEYS)
    crash_point("rebuild.loaded")  # Recovery: goes on with the keys.


async def _note(connection: asyncpg.Connection, statement: str) -> None:
    async with connection.transaction():
        await connection.execute(MEMORY)
        await connection.execute(statement)


async def make_keys(
    connection: asyncpg.Connection, home: Home, *, indexes: bool, memory_mib: int
) -> None:
    """Makes the table's constraints, and with `indexes` then its other indexes, one at a time.

    Raises what Postgres says of a row that no index takes.
    """
    while True:
        definition = await connection.fetchval(NEXT_DEFINITION, home.name)
        if definition is None or (not indexes and not definition.startswith("ALTER TABLE")):
            return
        async with connection.transaction():
            await connection.execute(f"SET LOCAL maintenance_work_mem = '{memory_mib}MB'")
            await connection.execute(definition)
            await connection.execute(MADE, home.name)
        crash_point("rebuild.indexed")  # Recovery: the others are made.


class Settler:
    """Applies the events of busy keys, in order, to the shadow that has all other rows."""

    def __init__(self, projection: Projection, home: Home, refused: frozenset[int]) -> None:
        self.projection = projection
        self.home = home
        self.refused = refused
        self.writer = TableWriter(projection, home)
        self._folder = Folder(projection)
        self._log = WholeLog()

    async def settle(
        self, reading: asyncpg.Connection, writing: asyncpg.Connection, build: shadow.Build
    ) -> AsyncIterator[int]:
        """Applies what is left of them; yields the offset through which that is done.

        Nothing else writes to the shadow. Each batch is committed with how far it goes.
        """
        after = build.settled_offset
        # In the order of the log, each event looked up among the busy: the rest of the log is not
        # gone through again for each batch.
        for way in ("enable_hashjoin", "enable_mergejoin", "enable_sort", "enable_seqscan"):
            await reading.execute(f"SET {way} = off")
        await reading.execute("SET max_parallel_workers_per_gather = 0")
        async for found, through in self._busy_events(reading, after, build.through_offset):
            events = [e for e in found if e.log_offset not in self.refused]
            rest = Window(
                after,
                through,
                [e for e in events if e.kind == "commit"],
                [e for e in events if e.removes_account],
            )
            async with writing.transaction():
                while rest.after < rest.through:
                    part, folded = self._folder.fold_beginning(rest)
                    await self.writer.write(writing, folded, part.through)
                    _, rest = rest.cut(part.through)
                await writing.execute(SETTLED, self.home.name, through)
            crash_point("rebuild.settled")  # Recovery: goes on after this batch.
            after = through
            yield through

    async def _busy_events(
        self, connection: asyncpg.Connection, after: int, through: int
    ) -> AsyncIterator[tuple[list[Event], int]]:
        """The events of busy keys, and all removals, with the offset through which they go."""
        live_from = int(await connection.fetchval(ARCHIVED))
        while after < min(through, live_from - 1):
            # Archived: read whole, and asked which of them are busy.
            end = min(after + SETTLED_EVENTS, through, live_from - 1)
            events = await self._log.read(connection, after, end, self.projection.collections)
            yield await self._only_busy(connection, events), end
            after = end
        sql = BUSY_EVENTS.format(event=EVENT, busy=shadow.busy(self.home))
        while after < through:
            events = await fetch_events(
                connection, sql + f" LIMIT {SETTLED_EVENTS}", after, through,
                self.projection.collection,
            )  # fmt: skip
            if int(await connection.fetchval(ARCHIVED)) != live_from:
                # A partition went to the archive meanwhile: what was read may lack it.
                async for found in self._busy_events(connection, after, through):
                    yield found
                return
            whole = len(events) < SETTLED_EVENTS
            after = through if whole else events[-1].log_offset
            yield events, after

    async def _only_busy(self, connection: asyncpg.Connection, events: list[Event]) -> list[Event]:
        sql = BUSY.format(busy=shadow.busy(self.home))
        uris = [e.uri for e in events if e.kind == "commit"]
        busy = {row["uri"] for row in await connection.fetch(sql, uris)}
        return [e for e in events if (e.uri in busy if e.kind == "commit" else e.removes_account)]


async def finish(connection: asyncpg.Connection, projection: Projection, home: Home) -> None:
    """Drops the helper tables, and has the planner know the new ones; the shadow then follows
    the log's head."""
    async with connection.transaction():
        await connection.execute(f"DROP TABLE {shadow.busy(home)}, {shadow.removed(home)}")
        await connection.execute(
            f"ALTER TABLE {home.base(projection.table)} RESET (autovacuum_enabled)"
        )
        await shadow.enter(connection, home, shadow.CATCH_UP)
    await connection.execute(f"ANALYZE {home.base(projection.table)}")


async def prepare(connection: asyncpg.Connection, workers: int) -> None:
    """Sets a connection up for a build: so many processes may help Postgres with one statement."""
    await times_in_microseconds(connection)
    await connection.execute(f"SET max_parallel_workers_per_gather = {workers}")
    await connection.execute(f"SET max_parallel_maintenance_workers = {workers}")
    await connection.execute("SET synchronous_commit = off")
