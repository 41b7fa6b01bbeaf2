"""Each role of ops/roles.sql can do its work, by the real commands, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import asyncpg
import pytest

from projector.embedded_postgres import EmbeddedPostgres
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.roles import as_role, make_roles
from tests.support.watch import Watch

SOURCE = "generate:events=900,seed=21,accounts=60,invalid=0.01"
SMALL = {"PROJECTOR_PARTITION_EVENTS": "400", "PROJECTOR_PROJECTIONS": "*"}
OWNERS = """
SELECT DISTINCT pg_get_userbyid(c.relowner) FROM pg_class AS c
WHERE c.relnamespace IN ('projector'::regnamespace, 'bsky'::regnamespace) AND c.relkind <> 't'
"""
INDEXED = "SELECT count(*) FROM pg_class WHERE relname LIKE 'event\\_log\\_%\\_did\\_idx'"

APPENDING = [
    "INSERT INTO projector.event_log SELECT * FROM projector.event_log",
    "UPDATE projector.log_head SET head = head + 1",
    "UPDATE projector.source_cursor SET cursor = ''",
    "SELECT projector.make_partition(1, 1)",
]
LOG_CHANGES = [
    "UPDATE projector.event_log SET record = NULL",
    "DELETE FROM projector.event_log",
    "TRUNCATE projector.event_log",
    "DROP TABLE projector.event_log",
    "DELETE FROM projector.log_partition",
    "DELETE FROM projector.log_archive",
    "INSERT INTO projector.migration VALUES (1000, 'x')",
    "DELETE FROM projector.feed",
    "CREATE TABLE projector.mine ()",
    "CREATE TABLE bsky.mine ()",
    "CREATE SCHEMA mine",
    "CREATE ROLE mine",
    "ALTER TABLE bsky.post ADD COLUMN mine text",
    "DROP TABLE bsky.post",
]
PROJECTING = [
    "UPDATE projector.checkpoint SET log_offset = 0",
    "DELETE FROM projector.outbox",
    "DELETE FROM projector.finding",
    "DELETE FROM bsky.post",
    'UPDATE bsky.profile_agg SET "followersCount" = 0',
    "SELECT projector.index_partition('event_log_000000000000001')",
]
LEASING = ["DELETE FROM projector.lease"]
READING = ["SELECT count(*) FROM bsky.post", "SELECT * FROM projector.outbox"]

DENIED: dict[str, Sequence[str]] = {
    "ingest": [*LOG_CHANGES, *PROJECTING, *READING, "SELECT error FROM projector.dead_letter",
               "DELETE FROM projector.dead_letter", "DELETE FROM projector.source_cursor"],
    "project": [*LOG_CHANGES, *APPENDING],
    "read": [*LOG_CHANGES, *APPENDING, *PROJECTING, *LEASING,
             "DELETE FROM projector.dead_letter"],
}  # fmt: skip


def place_of(folder: Path, url: str, role: str) -> Place:
    return Place(folder, "--database", as_role(url, role), **SMALL)


async def prepared(server: EmbeddedPostgres, url: str, folder: Path) -> Place:
    """Roles, schema, roles again; returns the admin's place."""
    assert "run this file again" in await make_roles(server, url)
    admin = place_of(folder, url, "admin")
    await admin.ok("init")
    assert await make_roles(server, url) == ""
    return admin


async def denied(url: str, role: str) -> list[str]:
    """The statements of DENIED that a role may do all the same."""
    connection = await asyncpg.connect(as_role(url, role))
    allowed = []
    try:
        for statement in DENIED[role]:
            transaction = connection.transaction()
            await transaction.start()
            try:
                await connection.execute(statement)
                allowed.append(statement)
            except asyncpg.InsufficientPrivilegeError:
                pass
            finally:
                await transaction.rollback()
    finally:
        await connection.close()
    return allowed


@pytest.mark.both_servers
async def test_each_role_does_its_work_and_no_more(
    postgres: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    admin = await prepared(postgres, database_url, tmp_path)
    ingest, project, read = (
        place_of(tmp_path, database_url, role) for role in ("ingest", "project", "read")
    )
    async with Watch(database_url) as watch:
        # It makes partitions on its way, twice.
        await ingest.ok("ingest", SOURCE)
        assert await watch.count("SELECT count(*) FROM projector.log_partition") >= 3
        async with project.start("run", "--audit-accounts-per-second", "1000") as daemon:
            await until(watch.is_caught_up, seconds=60)
            await watch.until(lambda: watch.count(INDEXED), 2)
            await watch.until(lambda: watch.count("SELECT proven FROM projector.audit_state"), 1)
            # The admin's commands, while the daemon runs: what they make is the daemon's to write.
            await admin.ok("rebuild", "like", "notification")
            await ingest.ok("ingest", SOURCE.replace("seed=21", "seed=22"))
            await until(watch.is_caught_up, seconds=60)
            daemon.terminate()
            assert await daemon.code() == 0, daemon.said
        assert "permission denied" not in daemon.said
        # Those of few events may have been on their way.
        await project.ok("run", "--until-caught-up")
        did = await watch.value("SELECT creator FROM bsky.post ORDER BY uri LIMIT 1")
        for words in (
            ["status"],
            ["verify"],
            ["explain", "postsCount", did],
        ):
            await read.ok(*words)
        for words in (
            ["verify", "--all"],
            ["heal", did],
            ["forget", did, "--yes"],
        ):
            await admin.ok(*words)
        ended = await project.run("rebuild", "like")
        assert ended.code == 3
        assert "permission denied" in ended.complaint
        assert {role: await denied(database_url, role) for role in DENIED} == {
            role: [] for role in DENIED
        }
        assert await watch.rows(OWNERS) == [("projector_admin",)]


async def test_what_was_made_before_there_were_roles_becomes_theirs(
    postgres: EmbeddedPostgres, database_url: str, tmp_path: Path
) -> None:
    somebody = Place(tmp_path, "--database", database_url, **SMALL)
    await somebody.ok("init")
    await somebody.ok("ingest", SOURCE)
    assert await make_roles(postgres, database_url) == ""
    ingest = place_of(tmp_path, database_url, "ingest")
    await ingest.ok("ingest", SOURCE.replace("seed=21", "seed=22"))
    project = place_of(tmp_path, database_url, "project")
    await project.ok("run", "--until-caught-up")
    await place_of(tmp_path, database_url, "admin").ok("verify", "--all")
    async with Watch(database_url) as watch:
        assert await watch.rows(OWNERS) == [("projector_admin",)]
