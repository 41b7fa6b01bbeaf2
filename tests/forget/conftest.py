"""What the tests of erasure have in common: a log half in the archive, and what must be left."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from events.event import Event
from projector import schema
from projector.aggregate import audit
from projector.database import Database
from projector.declare import Declaration
from projector.embedded_postgres import EmbeddedPostgres
from tests.archive.conftest import PARTITION, Log, generated
from tests.support.cli import Place
from tests.support.engine import AGGREGATES, DECLARATIONS, project, table_names, tables_of
from tests.support.own_server import make_database

EVENTS = 700
ARCHIVED = 400


class Scene:
    """A projected log of 700 events, of which 400 are in the archive."""

    def __init__(self, log: Log, database: Database, place: Place) -> None:
        self.log = log
        self.database = database
        self.place = place

    async def open(self, events: Sequence[Event]) -> Scene:
        await schema.create(self.log.connection, DECLARATIONS, "bsky", partition_events=PARTITION)
        await self.log.append(events)
        await project(self.database)
        await self.log.archive(keep_events=EVENTS - ARCHIVED)
        return self

    @property
    def busiest(self) -> str:
        """The account with the most events; it has some in the archive and some that are live."""
        did = Counter(e.did for e in self.log.events).most_common(1)[0][0]
        offsets = [e.log_offset for e in self.log.events if e.did == did]
        assert offsets[0] <= ARCHIVED < offsets[-1]
        return did

    async def differences(self) -> list[Any]:
        return list(await audit(self.log.connection, AGGREGATES, "bsky"))


def without(events: Sequence[Event], did: str) -> list[Event]:
    """The events of all other accounts."""
    return [e for e in events if e.did != did]


async def projected(
    url: str, events: Sequence[Event], declarations: Sequence[Declaration] = DECLARATIONS
) -> dict[str, list[dict[str, Any]]]:
    """The tables that a log of these events comes to, in an empty database."""
    database = Database(url)
    log = await Log(database, Path("unused")).open()
    await schema.create(log.connection, declarations, "bsky", partition_events=100_000)
    await log.append(events)
    await log.connection.close()
    await project(database, declarations=declarations)
    return await tables_of(database, table_names(declarations))


@pytest.fixture
async def other_url(postgres: EmbeddedPostgres, database_url: str) -> str:
    """The URL of a second empty database on the same server."""
    return await make_database(postgres, database_url.partition("?")[0].rpartition("/")[2] + "_b")


@pytest.fixture
async def log(database: Database, tmp_path: Path) -> AsyncIterator[Log]:
    """An empty log."""
    log = await Log(database, tmp_path / "archive").open()
    yield log
    await log.connection.close()


@pytest.fixture
async def scene(log: Log, database: Database, tmp_path: Path) -> Scene:
    """The log and its tables, with few accounts."""
    place = Place(tmp_path, "--database", database.url)
    return await Scene(log, database, place).open(await few_accounts())


async def few_accounts() -> list[Event]:
    """Events of a made-up firehose of twelve accounts."""
    return await generated(EVENTS, spec="accounts=12,invalid=0.02")
