"""What is wrong with a server, made so on a real one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest

from projector.database import Database
from projector.doctor import activity, room, server, speed, tuning
from projector.doctor.examine import examine
from projector.doctor.finding import Case, Finding
from projector.embedded_postgres import EmbeddedPostgres
from projector.settings import Settings
from tests.doctor.conftest import names, one
from tests.support.engine import ALL, DECLARATIONS
from tests.support.proxy import Proxy, socket_of, to_socket

both_servers = pytest.mark.both_servers


def through(proxy: Proxy, url: str) -> Database:
    """The same database by way of a proxy."""
    name = urlsplit(url).path.strip("/")
    return Database(f"postgresql://postgres@127.0.0.1:{proxy.port}/{name}")


@asynccontextmanager
async def case_of(database: Database) -> AsyncIterator[Case]:
    connection = await database.connect("doctor")
    try:
        yield Case(database, connection, DECLARATIONS, Settings(), False)
    finally:
        await connection.close()


@both_servers
async def test_a_server_that_is_well(case: Case) -> None:
    assert await server.check(case) == []
    assert await activity.check(case) == []
    assert "connections" not in names(await room.check(case))


@both_servers
async def test_encoding_and_read_only(case: Case, postgres: EmbeddedPostgres) -> None:
    name = f"odd_{case.connection.get_server_pid()}"
    await case.connection.execute(
        f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C'"
        " LC_CTYPE 'C'"
    )
    await case.connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    await case.connection.execute(
        f"UPDATE pg_database SET datcollversion = '0' WHERE datname = '{name}'"
    )
    async with case_of(Database(postgres.url(name))) as odd:
        found = await server.check(odd)
        assert "slow-commit" not in names(await speed.check(odd))  # Nothing is written there.
    await case.connection.execute(f"DROP DATABASE {name}")
    assert names(found) == {"encoding": "bad", "collation-version": "warn", "read-only": "bad"}
    assert "SQL_ASCII" in one(found, "encoding").cause
    assert "RESET default_transaction_read_only" in one(found, "read-only").cure


@both_servers
async def test_keys_of_another_collation(case: Case) -> None:
    collation = await case.connection.fetchval(
        "SELECT collname FROM pg_collation WHERE collname IN ('en_US', 'en_US.utf8', 'C.utf8',"
        " 'en-x-icu', 'und-x-icu', 'pg_unicode_fast', 'pg_c_utf8') ORDER BY 1 LIMIT 1"
    )
    assert collation
    await case.connection.execute(
        f'ALTER TABLE bsky."like" ALTER COLUMN uri TYPE varchar COLLATE "{collation}"'
    )
    found = one(await server.check(case), "collation")
    assert collation in found.cause
    # The cure cures.
    await case.connection.execute(found.cure)
    assert await server.check(case) == []


async def test_an_old_version(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SERVER_VERSION_MIN", 99)
    assert "99 or newer is needed" in one(await server.check(case), "version").cause


class Pooler(Proxy):
    """Gives its clients keys of its own, as pgbouncer does: they name none of the server's."""

    async def _pass(self, reader, writer):  # type: ignore[no-untyped-def]
        while data := await reader.read(1 << 16):
            data = re.sub(rb"K\x00\x00\x00\x0c.{8}", b"K\x00\x00\x00\x0c" + b"\x7f" * 8, data)
            writer.write(data)
            await writer.drain()


@both_servers
async def test_a_pooler_in_between(database: Database) -> None:
    async with (
        Pooler(to_socket(socket_of(database.url))) as pooler,
        case_of(through(pooler, database.url)) as case,
    ):
        assert "session" in one(await server.check(case), "pooler").cure


async def test_a_way_that_is_long(database: Database) -> None:
    async with Proxy(to_socket(socket_of(database.url))) as proxy:
        proxy.delay_seconds = 0.005
        async with case_of(through(proxy, database.url)) as case:
            found = one(await speed.check(case), "round-trip")
    trip = float(re.findall(r"takes ([\d.]+) ms", found.cause)[0])
    assert trip >= 10


def fast_settings(found: list[Finding]) -> set[str]:
    return {finding.name for finding in found if finding.severity == "bad"}


@both_servers
async def test_settings_that_only_tests_may_have(case: Case) -> None:
    assert fast_settings(await tuning.check(case)) == {"fsync", "full-page-writes"}


@both_servers
async def test_settings_of_a_role_or_database(case: Case) -> None:
    name = await case.connection.fetchval("SELECT current_database()")
    await case.connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    async with case_of(case.database) as again:
        found = one(await tuning.check(again), "synchronous-commit")
    assert (found.severity, found.cure) == ("bad", "ALTER DATABASE … RESET synchronous_commit")


async def test_a_server_on_which_everything_is_wrong(ailing: EmbeddedPostgres) -> None:
    async with case_of(Database(ailing.url())) as case:
        found = await tuning.check(case)
        assert {f.name: f.severity for f in found if f.name != "wal-compression"} == {
            "full-page-writes": "bad", "autovacuum": "bad", "track-counts": "bad",
            "shared-buffers": "warn", "max-wal-size": "warn", "statement-timeout": "warn",
            "lock-timeout": "warn",
        }  # fmt: skip
        assert one(found, "shared-buffers").cause.startswith("shared_buffers is 16.8 MB")
        slow = one(await speed.check(case), "slow-commit")
        assert float(re.findall(r"takes (\d+) ms", slow.cause)[0]) >= 95
        few = one(await room.check(replace(case, declarations=ALL)), "connections")
        assert "connections can be had" in few.cause
        monkey = pytest.MonkeyPatch()
        monkey.setattr(activity, "PREPARED_SECONDS", 0.0)
        await case.connection.execute("BEGIN; SELECT pg_current_xact_id()")
        await case.connection.execute("PREPARE TRANSACTION 'left over'")
        prepared = one(await activity.check(case), "prepared-transaction")
        monkey.undo()
        await case.connection.execute(prepared.cure)
        assert await activity.check(case) == []


async def test_no_connection_is_to_be_had(ailing: EmbeddedPostgres) -> None:
    taken = []
    with pytest.raises(asyncpg.TooManyConnectionsError):
        while True:
            taken.append(await asyncpg.connect(ailing.url()))
    found = await examine(Database(ailing.url()), DECLARATIONS, Settings())
    for connection in taken:
        await connection.close()
    assert names(found) == {"too-many-connections": "bad"}


async def test_what_holds_back_vacuum(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activity, "IDLE_SECONDS", 0.0)
    other = await asyncpg.connect(case.database.url)
    await other.execute("BEGIN; SELECT count(*) FROM projector.checkpoint")
    found = one(await activity.check(case), "idle-in-transaction")
    assert f"process {other.get_server_pid()}" in found.cause
    assert "checkpoint" not in found.cause.partition(":")[0]  # Nothing of what it ran.
    monkeypatch.undo()
    monkeypatch.setattr(activity, "LONG_SECONDS", 0.0)
    found = one(await activity.check(case), "long-transaction")
    await case.connection.execute(found.cure.partition(";")[0])
    other.terminate()
    monkeypatch.undo()
    await case.connection.execute("ALTER TABLE bsky.post SET (autovacuum_enabled = off)")
    found = one(await activity.check(case), "autovacuum-of-table")
    await case.connection.execute(found.cure)
    assert await activity.check(case) == []


@both_servers
async def test_a_slot_that_nobody_reads(case: Case) -> None:
    name = f"forgotten_{case.connection.get_server_pid()}"
    await case.connection.execute("SELECT pg_create_physical_replication_slot($1, true)", name)
    found = [f for f in await activity.check(case) if name in f.cause]
    await case.connection.execute(found[0].cure.partition(",")[0])
    assert names(found) == {"replication-slot": "warn"}
    assert await activity.check(case) == []


async def test_clocks_that_differ(case: Case) -> None:
    import time

    for ours, side in ((60.0, "behind"), (-60.0, "ahead of")):
        skewed = replace(case, clock=lambda ours=ours: time.time() + ours)
        found = one(await activity.check(skewed), "clock")
        assert re.search(rf"(59|60)\.\d s {side} ours", found.cause)


@both_servers
async def test_the_disk_that_fills(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    assert room.judge_disk(50e9, 100e9, 0.0) == []
    assert room.judge_disk(50e9, 100e9, 3e9) == []
    assert names(room.judge_disk(50e9, 100e9, 4e9)) == {"disk": "warn"}  # 12.5 days.
    assert names(room.judge_disk(50e9, 100e9, 30e9)) == {"disk": "bad"}
    assert names(room.judge_disk(9e9, 100e9, 0.0)) == {"disk": "warn"}
    assert names(room.judge_disk(2e9, 100e9, 0.0)) == {"disk": "bad"}
    # On a real one: what came within the day, as ingest has counted it, at what an event takes.
    await case.connection.execute(
        "INSERT INTO projector.rate SELECT 'jetstream', '', 3600,"
        " extract(epoch FROM now())::bigint / 3600 * 3600, 1000000000000, 1"
    )
    found = one(await room.check(case), "disk")
    assert found.severity == "bad"
    assert "1.6 PB come a day" in found.cause
