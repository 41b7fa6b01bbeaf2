"""What is wrong with our own state and rights, made so on a real server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import islice

import pytest

from events.generate import Generator
from projector import schema
from projector.database import Database
from projector.doctor import engine, rights, room
from projector.doctor.examine import examine
from projector.doctor.finding import Case
from projector.settings import Settings
from tests.doctor.conftest import names, one
from tests.support.engine import DECLARATIONS, append, project

both_servers = pytest.mark.both_servers


@asynccontextmanager
async def as_role(case: Case, **attributes: str) -> AsyncIterator[Case]:
    """The same database, as a role that was just made."""
    admin = case.connection
    role = f"r{admin.get_server_pid()}"
    words = " ".join(f"{name} {value}" for name, value in attributes.items())
    await admin.execute(f"CREATE ROLE {role} LOGIN {words}")
    database = Database(case.database.url.replace("postgres@", f"{role}@"))
    connection = await database.connect("doctor")
    try:
        yield replace(case, database=database, connection=connection)
    finally:
        await connection.close()
        await admin.execute(f"DROP OWNED BY {role}")
        await admin.execute(f"DROP ROLE {role}")


@both_servers
async def test_a_role_without_rights(case: Case, empty: Case) -> None:
    async with as_role(case) as stranger:
        found = await rights.check(stranger)
        assert names(found) == {"stats": "note", "init": "note", "ingest": "bad", "run": "bad"}
        assert "USAGE ON SCHEMA projector" in one(found, "ingest").cause
        # The whole of it goes on, and says no more than it knows.
        everything = await examine(stranger.database, DECLARATIONS, Settings())
        assert {"ingest", "run", "unseen", "disk-unseen"} <= names(everything).keys()
    assert await rights.check(case) == []
    async with as_role(replace(empty, has_engine=False)) as stranger:
        assert names(await rights.check(stranger))["init"] in ("note", "bad")


@both_servers
async def test_a_role_that_may_only_ingest(case: Case) -> None:
    """Whoever follows the cures in the end may do the work."""
    async with as_role(case) as stranger:
        for _ in range(20):
            found = one(await rights.check(stranger), "ingest")
            if found.severity == "note" or "owner of" in found.cure:
                break
            for grant in found.cure.split("; "):
                await case.connection.execute(grant)
        assert "ownership of projector.event_log" in found.cause
        role = await stranger.connection.fetchval("SELECT current_user")
        await case.connection.execute(f"ALTER TABLE projector.event_log OWNER TO {role}")
        assert names(await rights.check(stranger))["run"] == "note"
        assert "ingest" not in names(await rights.check(stranger))
        await case.connection.execute("ALTER TABLE projector.event_log OWNER TO postgres")


async def test_a_role_with_few_connections(case: Case) -> None:
    async with as_role(case, CONNECTION="LIMIT 5") as stranger:
        assert one(await room.check(stranger), "connections").cause.startswith("5 connections")


async def test_before_init(empty: Case) -> None:
    found = await engine.check(empty)
    assert one(found, "no-engine").cure == "projector init"


@both_servers
async def test_migrations_and_versions(case: Case) -> None:
    execute = case.connection.execute
    assert await engine.check(case) == []
    await execute("UPDATE projector.checkpoint SET version = 99 WHERE projection = 'like'")
    await execute("DELETE FROM projector.checkpoint WHERE projection = 'post_agg'")
    await execute("INSERT INTO projector.checkpoint (projection, version) VALUES ('gone', 1)")
    found = await engine.check(case)
    assert {f.name for f in found} >= {"projection-version", "not-kept"}
    cures = [f.cure for f in found if f.name == "projection-version"]
    assert any(cure.startswith("projector rebuild like") for cure in cures)
    assert any(cure.startswith("projector init") for cure in cures)
    await execute("DELETE FROM projector.migration WHERE number = 13")
    assert one(await engine.check(case), "migrations").cure == "projector init"
    await execute("INSERT INTO projector.migration (number, name) VALUES (9999, 'later')")
    assert one(await engine.check(case), "migrations").cure == "upgrade the program"


@both_servers
async def test_full_partitions_without_their_index(empty: Case) -> None:
    await schema.create(empty.connection, DECLARATIONS, "bsky", partition_events=200)
    await append(empty.database, list(islice(Generator(seed=3, accounts=40), 500)))
    case = replace(empty, has_engine=True)
    found = await engine.check(case)
    assert "1 full partition of the log has no index" in one(found, "unindexed-partition").cause
    status = one(found, "status")
    assert status.severity == "bad"
    assert "run by nobody: projector run" in status.cause
    await project(empty.database)  # Whoever runs makes them.
    assert await engine.check(case) == []


async def test_a_source_that_stopped_long_ago(case: Case) -> None:
    insert = """
    INSERT INTO projector.source_cursor (source, cursor, updated_at)
    SELECT $1, (extract(epoch FROM now() - $2::text::interval) * 1000000)::bigint, now()
    """
    await case.connection.execute(insert, "wss://one.test/subscribe", "2 hours")
    await case.connection.execute(insert, "wss://two.test/subscribe", "30 hours")
    found = one(await engine.check(case), "old-cursor")
    assert found.cause.startswith("wss://two.test/subscribe stopped 30 hours ago")
