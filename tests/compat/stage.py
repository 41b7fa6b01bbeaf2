"""`compat=reference` in hand: events into the log, each window applied when the test says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import asyncpg
from msgspec import structs

from events.event import Batch, Event
from events.jetstream_wire import JetstreamDecoder
from events.log import Appender
from projector import schema
from projector.compat import EventProjector
from projector.database import Database
from projector.pace import AdaptiveWindow
from projector.reader import LogReader
from projector.registry import event_by_event
from tests.peer.schema import names
from tests.peer.tables import Tables, normal

REFERENCE = event_by_event("reference")
ENGINE = ("event_log", "source_cursor", "dead_letter")
_decoder = JetstreamDecoder()
CHECKPOINT = "SELECT log_offset FROM projector.checkpoint WHERE projection = $1"
LETTERS = "SELECT log_offset FROM projector.dead_letter ORDER BY log_offset"


class ReferenceStage:
    """A database of the reference's tables, used for one history after the other."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.projector = self.new_projector(1)

    def new_projector(self, events_max: int) -> EventProjector:
        """A projector whose windows have so many events."""
        reader = LogReader(self.database, [])
        window = AdaptiveWindow(events_max, events_min=events_max)
        return EventProjector(REFERENCE, self.database, reader, schema="bsky", window=window)

    async def open(self) -> ReferenceStage:
        """Makes the schema and the connections."""
        self.admin = await self.database.connect("test admin")
        await schema.create(self.admin, [REFERENCE], "bsky", partition_events=100_000)
        self.connection = await self.projector.connected()
        self.read = reading(await names(self.admin))
        tables = [f'bsky."{name}"' for name in await names(self.admin)]
        tables += [f"projector.{name}" for name in ENGINE]
        # DELETE, not TRUNCATE: of tables with a few rows it is ten times faster.
        self._reset = ";".join(
            [
                *(f"DELETE FROM {table}" for table in tables),
                "UPDATE projector.log_head SET head = 0",
                "UPDATE projector.checkpoint SET log_offset = 0, events = 0",
            ]
        )
        return self

    async def close(self) -> None:
        """Lets go of the connections."""
        for connection in (self.admin, self.connection):
            connection.terminate()
        await self.projector.reader.close()

    async def begin(self) -> None:
        """Empties the database."""
        await self.admin.execute(self._reset)
        self.projector.checkpoint = 0
        self.projector.reader.head = 0

    async def append(self, events: Sequence[Event]) -> None:
        """Puts events into the log, repeats as well."""
        await append(self.admin, events)

    async def catch_up(
        self, events_max: int = 1, connection: asyncpg.Connection | None = None
    ) -> None:
        """Applies windows of so many events up to the log's head."""
        head = await self.projector.reader.refresh()
        while self.projector.checkpoint < head:
            self.projector.pace = AdaptiveWindow(events_max, events_min=events_max)
            await self.projector.step(connection or self.connection)

    async def read_checkpoint(self) -> None:
        """Has the projector look again where it is."""
        self.projector.checkpoint = await self.admin.fetchval(CHECKPOINT, REFERENCE.name)

    async def do(self, step: dict[str, Any]) -> None:
        """One step of a scenario: an event, or what somebody did by SQL."""
        if "sql" in step:
            await self.admin.execute(step["sql"])
            return
        await self.append([event_of(json.dumps(step["event"]).encode())])
        await self.catch_up()

    async def tables(self) -> Tables:
        """All rows in the form of the golden results. Those were made by calling the indexer's
        routines, past the one that notes each commit in `actor_sync`: what commits noted there is
        left out, and looked at by tests of its own."""
        found = await tables_of(self.admin, self.read)
        synced = [row for row in found.pop("actor_sync", []) if row["commitCid"]]
        return found | ({"actor_sync": synced} if synced else {})

    async def letters(self) -> list[int]:
        """The offsets of the events that were refused."""
        return [row[0] for row in await self.admin.fetch(LETTERS)]


def reading(tables: Sequence[str]) -> str:
    """One query for all rows of tables of `bsky`, each with the table's name."""
    return " UNION ALL ".join(f"SELECT '{t}', to_jsonb(t) FROM bsky.\"{t}\" AS t" for t in tables)


async def tables_of(connection: asyncpg.Connection, query: str) -> Tables:
    """What such a query finds, in the form of the golden results."""
    tables: Tables = {}
    for name, row in await connection.fetch(query):
        tables.setdefault(name, []).append(json.loads(row))
    return normal(tables)


async def append(connection: asyncpg.Connection, events: Sequence[Event]) -> None:
    """Puts events into the log as a source that leaves no repeats out."""
    appender = Appender(connection, "test", partition_events=100_000)
    await appender.open(fill=False)
    await appender.append(Batch(cursor=events[-1].source_cursor, events=list(events)))


def event_of(line: bytes) -> Event:
    """The event of a line. A refresh beside a commit comes to us as a fact of the resolver."""
    decoded = _decoder.decode(line)
    assert isinstance(decoded, Event)
    if decoded.action != "refresh" or decoded.kind != "unknown":
        return decoded
    record = json.dumps(json.loads(line)["refresh"]).encode()
    return structs.replace(decoded, kind="identity", action="resolved", record=record)
