"""Scratch databases, and projectors in them that are cut off, doubled and torn."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from random import Random
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from events.event import Batch, Event
from events.history import WholeLog
from events.log import Appender, read_head
from projector import schema
from projector.aggregate import audit
from projector.database import Database, is_transient, one_line
from projector.declare import Aggregate, Declaration, Projection
from projector.errors import CheckpointMoved, UsageError
from projector.pace import AdaptiveWindow
from projector.projectors import AggregateProjector, TableProjector
from projector.prove import prove_accounts
from projector.reader import LogReader
from projector.statements import live

PARTITION_EVENTS: Final = 100_000
ATTEMPTS_MAX: Final = 2_000
CUT_AFTER_MAX: Final = 40
"""The most statements that a connection does before it is cut."""

LETTERS: Final = """
SELECT error FROM projector.dead_letter WHERE projection = $1 AND stage = 'apply' ORDER BY id
"""
EVENTS: Final = """
SELECT log_offset, kind, action FROM projector.event_log
WHERE did = $1 AND (rkey = $2 OR kind IN ('account', 'sync')) ORDER BY log_offset
"""
EVENTS_SHOWN_MAX: Final = 12


class Scratch:
    """Databases of one's own on somebody's server: a template with the schema, and copies of it."""

    def __init__(self, server: Database, declarations: Sequence[Declaration], name: str) -> None:
        self.server = server
        self.declarations = declarations
        self.schema = name
        self.prefix = f"projector_certify_{secrets.token_hex(4)}"
        self._made = 0

    async def make_template(self) -> Database:
        """Makes the template, with the tables of the declarations, by their DDL.

        Raises `UsageError` where the server lets us make no database; and what Postgres says of
        the DDL.
        """
        try:
            await self._admin(f"CREATE DATABASE {self.prefix}")
        except asyncpg.InsufficientPrivilegeError as error:
            raise UsageError(
                f"no scratch database on that server: {one_line(error)}; grant CREATEDB, or leave "
                "--database out and name --records"
            ) from error
        template = self.database(self.prefix)
        connection = await template.connect("certify")
        try:
            for _ in range(2):
                # Twice: what `init` makes it must find made.
                await schema.create(
                    connection, self.declarations, self.schema, partition_events=PARTITION_EVENTS
                )
        finally:
            await connection.close()
        return template

    def database(self, name: str) -> Database:
        """A database of the server, by its name."""
        parts = urlsplit(self.server.url)
        return replace(self.server, url=urlunsplit(parts._replace(path=f"/{name}")))

    @asynccontextmanager
    async def copy(self) -> AsyncIterator[Database]:
        """A copy of the template, for one trial."""
        self._made += 1
        name = f"{self.prefix}_{self._made}"
        await self._admin(f"CREATE DATABASE {name} TEMPLATE {self.prefix}")
        try:
            yield self.database(name)
        finally:
            await self._admin(f"DROP DATABASE {name} WITH (FORCE)")

    async def drop(self) -> None:
        """Removes the template."""
        await self._admin(f"DROP DATABASE IF EXISTS {self.prefix} WITH (FORCE)")

    async def _admin(self, statement: str) -> None:
        connection = await self.server.first_connect("certify")
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


@dataclass(frozen=True, slots=True)
class Cutting(Database):
    """A database whose connections are lost after some statements; `cuts` says after how many."""

    random: Random = field(default_factory=Random)
    cuts: list[int] = field(default_factory=list)

    async def connect(self, role: str, **settings: str) -> asyncpg.Connection:
        """Opens a connection that will be lost, as by a kill: between any two statements."""
        connection = await Database.connect(self, role, **settings)
        after = self.random.randint(1, CUT_AFTER_MAX)
        done = 0

        def count(_query: object) -> None:
            nonlocal done
            done += 1
            if done == after and not connection.is_closed():
                self.cuts.append(after)
                connection.terminate()

        connection.add_query_logger(count)
        return connection


@dataclass(slots=True)
class Torn(AdaptiveWindow):
    """Windows of random sizes."""

    random: Random = field(default_factory=Random)

    def took(self, seconds: float) -> None:
        """Chooses the size of the next, whatever this one took."""
        AdaptiveWindow.took(self, seconds)
        self.events = self.random.randint(1, self.events_max)


class Trial:
    """One projection, and the aggregates that count its rows, in a database of their own."""

    def __init__(
        self,
        database: Database,
        projection: Projection,
        aggregates: Sequence[Aggregate],
        name: str,
    ) -> None:
        self.database = database
        self.projection = projection
        self.aggregates = aggregates
        self.schema = name

    async def append(self, events: Sequence[Event]) -> None:
        """Appends events to the log, repeats as well."""
        connection = await self.database.connect("certify append")
        try:
            appender = Appender(connection, "certify", partition_events=PARTITION_EVENTS)
            await appender.open(fill=False)
            await appender.append(Batch(cursor=events[-1].source_cursor, events=list(events)))
        finally:
            await connection.close()

    async def apply(self, window: AdaptiveWindow, database: Database | None = None) -> None:
        """Applies all of the log, and merges all deltas; again and again where it is cut off, or
        where another was there first."""
        reader = LogReader(self.database, self.projection.collections)
        try:
            head = await reader.refresh()
            projector = TableProjector(
                self.projection,
                database or self.database,
                reader,
                home=live(self.projection, self.schema),
                window=window,
            )
            for _ in range(ATTEMPTS_MAX):
                try:
                    await projector.run(asyncio.Event(), until=head)
                    break
                except CheckpointMoved:
                    continue
                except Exception as error:
                    if not is_transient(error):
                        raise
                    # Another size: the same might be too large to get through, ever.
                    window.took(0.0)
        finally:
            await reader.close()
        for aggregate in self.aggregates:
            await self._merge(aggregate, database or self.database)

    async def _merge(self, aggregate: Aggregate, database: Database) -> None:
        home = live(aggregate, self.schema)
        for _ in range(ATTEMPTS_MAX):
            merger = AggregateProjector(aggregate, database, home=home, outbox_rows_max=2)
            merger.finish()
            try:
                await merger.run(asyncio.Event())
                return
            except Exception as error:
                if not is_transient(error):
                    raise

    async def rows(self) -> list[asyncpg.Record]:
        """All rows of the projection's table, in the order of their keys."""
        table = live(self.projection, self.schema).base(self.projection.table)
        return await self._ask(f"SELECT * FROM {table} ORDER BY uri")

    async def refused(self) -> list[str]:
        """What Postgres said of rows that it would not take."""
        return [row["error"] for row in await self._ask(LETTERS, self.projection.name)]

    async def _events_of(self, uri: str) -> str:
        """What the log has of a record, the latest last."""
        did, _, key = uri.removeprefix("at://").partition("/")
        rows = await self._ask(EVENTS, did, key.rpartition("/")[2])
        told = [
            f"{row['log_offset']} " + ("" if row["kind"] == "commit" else f"{row['kind']} ")
            + row["action"] for row in rows
        ]  # fmt: skip
        more = "… " if len(told) > EVENTS_SHOWN_MAX else ""
        return more + ", ".join(told[-EVENTS_SHOWN_MAX:])

    async def _ask(self, query: str, *values: object) -> list[asyncpg.Record]:
        connection = await self.database.connect("certify read")
        try:
            return await connection.fetch(query, *values)
        finally:
            await connection.close()

    async def faults(self, dids: Sequence[str]) -> list[str]:
        """Where tables are not the truth of the log (by `AccountTruth`), or counters not their
        rows (invariant 7)."""
        connection = await self.database.connect("certify prove")
        log = WholeLog()
        try:
            (verdict,) = await prove_accounts(connection, log, [self.projection], self.schema, dids)
            head = await read_head(connection)
            differences = await audit(connection, self.aggregates, self.schema)
        finally:
            await log.close()
            await connection.close()
        if verdict.subject.through != head:
            return [f"applied through offset {verdict.subject.through} of {head}"]
        found = []
        for d in verdict.differences:
            what = " ".join((d.part, d.uri, "is", d.kind, *d.columns))
            found.append(f"{what}; its events in the log: {await self._events_of(d.uri)}")
        return found + [
            f"{d.aggregate}.{d.counter} of {d.key}: {d.stored} stored and {d.pending} pending, "
            f"but {d.counted} rows"
            for d in differences
        ]
