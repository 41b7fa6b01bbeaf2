"""The rolling audit: every account in turn, from where it was, beside everything else."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from itertools import islice

import asyncpg
import msgspec
import pytest

from events.event import Event
from events.generate import Generator
from projector.counter_audit import look_again, present
from projector.database import Database
from projector.lease import LeaseKeeper
from projector.status import AuditStatus, read_audit
from tests.support.cli import environment
from tests.support.engine import DECLARATIONS, append, project
from tests.support.harness import until
from tests.support.histories import POST, made
from tests.verify.child import auditor_of, step
from tests.verify.world import HISTORY, A, B, build, uri

HEAD = len(HISTORY)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    connection = await database.connect("test audit")
    yield connection
    await connection.close()


async def a_round(database: Database, connection: asyncpg.Connection) -> AuditStatus:
    """Audits to the end of a round; what was known just before it ended."""
    auditor = auditor_of(database, LeaseKeeper(database))
    number = "SELECT round FROM projector.audit_state"
    begun = await connection.fetchval(number)
    status = await read_audit(connection)
    for _ in range(1000):
        await step(auditor, connection)
        if await connection.fetchval(number) != begun:
            return status
        status = await read_audit(connection)
    raise AssertionError("a round without end")


async def test_every_account_is_proven_in_each_round(
    database: Database, connection: asyncpg.Connection
) -> None:
    await build(database)
    assert (await read_audit(connection)).sentence == "0 of 0 accounts proven, 0 differences"
    status = await a_round(database, connection)
    assert msgspec.to_builtins(status) == {
        "accounts": 4, "proven": 4, "as_of": HEAD, "complete_as_of": None, "differences": 0,
    }  # fmt: skip
    await append(database, [made(500, "create", POST, account=5)])
    await project(database)
    status = await a_round(database, connection)
    assert status.sentence == (
        f"5 of 5 accounts proven as of offset {HEAD + 1} (all of them as of {HEAD}), 0 differences"
    )
    rows = await connection.fetch("SELECT round, as_of FROM projector.audit_account")
    assert [tuple(row) for row in rows] == [(2, HEAD + 1)] * 5


async def test_differences_are_kept_until_they_are_gone(
    database: Database, connection: asyncpg.Connection
) -> None:
    await build(database)
    await connection.execute("UPDATE bsky.post SET text = text || 'x' WHERE creator = $1", B)
    assert (await a_round(database, connection)).differences == 4
    rows = await connection.fetch("SELECT * FROM projector.finding ORDER BY uri")
    found = [(r["did"], r["uri"], r["part"], r["kind"], r["columns"], r["as_of"]) for r in rows]
    assert found == [(B, uri(B, POST, n), "row", "altered", ["text"], HEAD) for n in range(4)]
    await connection.execute("UPDATE bsky.post SET text = left(text, -1) WHERE uri LIKE '%r1'"
                             " AND creator = $1", B)  # fmt: skip
    status = await a_round(database, connection)
    assert status.sentence.endswith("3 differences: projector heal --all-differences")


async def test_accounts_that_only_a_table_knows_are_found(
    database: Database, connection: asyncpg.Connection
) -> None:
    await build(database)
    for n in range(7):
        did = f"did:web:{n}.test"
        await connection.execute(
            'INSERT INTO bsky.repost (uri, cid, creator, subject, "subjectCid", "createdAt",'
            " \"indexedAt\") VALUES ($1, 'c', $2, 's', 'c', 't', 't')",
            f"at://{did}/app.bsky.feed.repost/1", did,
        )  # fmt: skip
    status = await a_round(database, connection)
    assert (status.accounts, status.proven, status.differences) == (11, 11, 7)


@pytest.mark.parametrize(
    "point", ["audit.listing", "audit.proven", "audit.committing", "audit.committed:2"]
)
async def test_killed_it_goes_on_where_it_was(
    database: Database, connection: asyncpg.Connection, point: str
) -> None:
    await build(database)
    await connection.execute("DELETE FROM bsky.post WHERE creator = $1", A)
    assert await child(database, PROJECTOR_CRASH_AT=point) == -signal.SIGKILL
    between = await read_audit(connection)
    assert between.proven == {"audit.committed:2": 4}.get(point, 0)
    assert await child(database) == 0
    rows = await connection.fetch("SELECT did, round, as_of FROM projector.audit_account")
    assert sorted(row["did"] for row in rows) == sorted({event.did for event in HISTORY})
    # A differs, and was never right as of any offset.
    assert {(row["round"], row["as_of"]) for row in rows if row["did"] != A} == {(1, HEAD)}
    assert {(row["round"], row["as_of"]) for row in rows if row["did"] == A} == {(1, 0)}
    # Four posts of A, and by them its count of posts, and that of replies to one of B.
    assert (await read_audit(connection)).differences == 4 + 2


async def child(database: Database, **variables: str) -> int:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.verify.child", database.url,
        env=environment(**variables), stdin=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await asyncio.wait_for(process.wait(), 60)


def generated(count: int) -> list[Event]:
    return list(islice(Generator(seed=3, accounts=40), count))


async def test_beside_a_running_projector_nothing_seems_wrong(
    database: Database, connection: asyncpg.Connection
) -> None:
    """And every account is proven, those too that come while it runs."""
    events = generated(3000)
    await build(database, events[:500])
    keeper = LeaseKeeper(database)
    auditing = asyncio.create_task(auditor_of(database, keeper).run())

    async def rounds() -> int:
        return int(await connection.fetchval("SELECT round FROM projector.audit_state"))

    for begin in range(500, 3000, 500):
        await append(database, events[begin : begin + 500])
        await project(database, window_events=50)
    begun = await rounds()

    async def two_more() -> bool:
        assert not auditing.done()
        return await rounds() >= begun + 2

    await until(two_more, seconds=60)
    auditing.cancel()
    await asyncio.gather(auditing, return_exceptions=True)
    await keeper.close()
    status = await read_audit(connection)
    assert status.differences == 0
    assert status.complete_as_of == 3000
    known = {row[0] for row in await connection.fetch("SELECT did FROM projector.audit_account")}
    collections = {getattr(d, "collection", None) for d in DECLARATIONS}
    assert known == {
        event.did for event in events
        if event.removes_account or (event.kind == "commit" and event.collection in collections)
    }  # fmt: skip


async def test_only_one_of_several_audits(database: Database) -> None:
    await build(database)
    keepers = [LeaseKeeper(database) for _ in range(3)]
    tasks = [asyncio.create_task(auditor_of(database, keeper).run()) for keeper in keepers]

    async def held() -> int:
        return sum("audit" in keeper.held for keeper in keepers)

    await until(held)
    assert await held() == 1
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for keeper in keepers:
        await keeper.close()


async def test_counters_are_proven_too_and_forgotten_once_they_are_mended(
    database: Database, connection: asyncpg.Connection
) -> None:
    """One of each kind of key: an account, and an at-uri of one."""
    await build(database)
    did = await connection.fetchval("SELECT min(did) FROM bsky.profile_agg")
    post = await connection.fetchval("SELECT min(uri) FROM bsky.post_agg")
    damage = 'UPDATE bsky.profile_agg SET "followsCount" = "followsCount" + $2 WHERE did = $1'
    other = 'UPDATE bsky.post_agg SET "likeCount" = "likeCount" + $2 WHERE uri = $1'
    await connection.execute(damage, did, 1)
    await connection.execute(other, post, 1)
    assert (await a_round(database, connection)).differences == 2
    found = await connection.fetch(
        "SELECT counter, key, kept - counted FROM projector.counter_finding ORDER BY counter"
    )
    assert [tuple(row) for row in found] == [("followsCount", did, 1), ("likeCount", post, 1)]

    # Mended, by whomever, they are forgotten without waiting for the next round.
    await connection.execute(damage, did, -1)
    counters = await present(connection, DECLARATIONS, "bsky")
    await look_again(connection, counters)
    assert (await read_audit(connection)).differences == 1
    await connection.execute(other, post, -1)
    await look_again(connection, counters)
    assert (await read_audit(connection)).differences == 0
