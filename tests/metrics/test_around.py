"""What is found around the engine's tables, made real: a lock, a failure, a disk."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator

import asyncpg
import pytest

from events.log import Appender
from events.recent import RecentEvents
from projector.database import Database
from projector.disk import read_disk
from projector.embedded_postgres import EmbeddedPostgres
from projector.errors import Corruption
from projector.failures import note_failure, read_failures
from projector.waits import Wait, read_wait
from tests.support.engine import create, project
from tests.support.harness import until
from tests.support.redis_case import batch
from tests.support.served import ingested

LOCK = "SELECT FROM projector.checkpoint WHERE projection = 'like' FOR UPDATE"


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    await create(database)
    connection = await database.connect("test")
    yield connection
    await connection.close()


async def test_who_waits_for_whose_lock_is_told(
    database: Database, connection: asyncpg.Connection
) -> None:
    await ingested(database, "generate:events=500,seed=3")
    other = await asyncpg.connect(database.url, server_settings={"application_name": "psql"})
    await other.execute("BEGIN")
    await other.execute(LOCK)
    applying = asyncio.create_task(project(database))

    async def waits() -> Wait | None:
        found = await read_wait(connection, 0.3)
        return found if found is not None and found.blocker is not None else None

    found: Wait = await until(waits)
    assert (found.role, found.blocker, found.blocker_name) == (
        "apply like", other.get_server_pid(), "psql",
    )  # fmt: skip
    assert found.event.startswith("Lock ")
    await other.close()
    await applying
    assert await read_wait(connection, 0.3) is None


async def test_failures_are_counted_where_a_projection_is(
    database: Database, connection: asyncpg.Connection
) -> None:
    for error in (Corruption("one"), asyncpg.OutOfMemoryError("two"), RuntimeError("three")):
        await note_failure(database, "like", error)
    # A server that was away, or a rival, is no failure of the projection's.
    for error in (OSError("away"), asyncpg.AdminShutdownError("going"),
                  asyncpg.TooManyConnectionsError("full")):  # fmt: skip
        await note_failure(database, "like", error)
    (found,) = await read_failures(connection)
    assert (found.projection, found.log_offset, found.attempts) == ("like", 0, 3)
    assert found.error == "three"

    # Past the place it is over; elsewhere it begins anew.
    await connection.execute("UPDATE projector.checkpoint SET log_offset = 7")
    assert await read_failures(connection) == []
    await note_failure(database, "like", RuntimeError("four"))
    (found,) = await read_failures(connection)
    assert (found.log_offset, found.attempts, found.error) == (7, 1, "four")


async def test_repeats_alone_do_not_end_a_silence(
    database: Database, connection: asyncpg.Connection
) -> None:
    """As they come where a source is begun anew, again and again, since its host says nothing."""
    appender = Appender(connection, "jetstream", recent=RecentEvents(100))
    await appender.open()
    heard = "SELECT updated_at FROM projector.source_cursor"
    await appender.append(batch("1", 0, 3))
    at = await connection.fetchval(heard)
    assert (await appender.append(batch("2", 1, 2))).duplicates == 2
    assert await connection.fetchval(heard) == at
    assert (await appender.append(batch("3", 2, 2))).duplicates == 1
    assert await connection.fetchval(heard) > at


async def test_the_disk_is_that_of_the_server_where_that_is_here(
    postgres: EmbeddedPostgres, database: Database, connection: asyncpg.Connection
) -> None:
    found = await read_disk(connection)
    assert found is not None
    told = shutil.disk_usage(postgres.data)
    assert found.total_bytes == told.total
    assert abs(found.free_bytes - told.free) < 0.2 * told.total

    # Who may not read where the data is, is not told.
    await connection.execute("CREATE ROLE nosy; SET ROLE nosy")
    assert await read_disk(connection) is None
    await connection.execute("RESET ROLE; DROP ROLE nosy")
