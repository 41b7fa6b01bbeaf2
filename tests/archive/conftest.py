"""What the tests of the archive have in common: a log of small partitions, and a folder for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from events.event import Batch, Event
from events.history import WholeLog
from events.log import Appender, read_head
from events.rows import times_in_microseconds
from events.sources.generate import GenerateSource
from projector import schema
from projector.archiving import Archiver, Moved, Policy
from projector.database import Database
from tests.support.logs import read_events

PARTITION = 200


class Log:
    """A log whose partitions hold 200 offsets each, as it was before anything was archived."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        self.rows: list[tuple[Any, ...]] = []
        self.events: list[Event] = []

    async def open(self) -> Log:
        self.connection = await self.database.connect("test")
        await schema.create(self.connection, [], "bsky", partition_events=PARTITION)
        await times_in_microseconds(self.connection)
        return self

    async def append(self, events: Sequence[Event]) -> None:
        """Appends events, and takes down what the log then holds."""
        await append(self.connection, events)
        self.events = await read_events(self.connection, 0, await read_head(self.connection))
        self.rows = await self.live_rows()

    async def live_rows(self) -> list[tuple[Any, ...]]:
        query = "SELECT * FROM projector.event_log ORDER BY log_offset"
        return [tuple(row) for row in await self.connection.fetch(query)]

    def archiver(self) -> Archiver:
        return Archiver(self.connection, str(self.folder))

    async def archive(self, **policy: Any) -> list[Moved]:
        done, _ = await self.archiver().run(Policy(**policy))
        return done

    async def read(self, **ways: Any) -> list[Event]:
        """All of the log, as a reader finds it that opens it now."""
        whole = WholeLog()
        found: list[Event] = []
        try:
            async for events in whole.scan(self.connection, 0, len(self.rows), **ways):
                found += events
        finally:
            await whole.close()
        return found

    async def partitions(self) -> list[int]:
        """Where the live partitions begin that hold events."""
        query = """
            SELECT first_offset FROM projector.log_partition, projector.log_head
            WHERE first_offset <= head ORDER BY 1
        """
        return [row[0] for row in await self.connection.fetch(query)]

    def files(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir()) if self.folder.exists() else []


async def append(connection: asyncpg.Connection, events: Sequence[Event]) -> None:
    """Appends events, a few at a time."""
    appender = Appender(connection, "test", partition_events=PARTITION)
    await appender.open()
    for i in range(0, len(events), 150):
        await appender.append(Batch(cursor=str(i), events=list(events[i : i + 150])))


async def generated(count: int, spec: str = "seed=1") -> list[Event]:
    """Events of a made-up firehose."""
    source = GenerateSource.parse(f"events={count},{spec}")
    return [event async for batch in source.batches(None) for event in batch.events][:count]


@pytest.fixture
async def log(database: Database, tmp_path: Path) -> AsyncIterator[Log]:
    """An empty log."""
    log = await Log(database, tmp_path / "archive").open()
    yield log
    await log.connection.close()
