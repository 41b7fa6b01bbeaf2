"""Tests that only a mutant showed to be missing: of rebuilding, mending, retrying, auditing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import msgspec
import pytest

from events.event import Event
from projections.follow import follows
from projections.like import likes
from projections.profile_agg import profile_agg
from projector import letters, settle, shadow, shadow_counts
from projector.database import Database
from projector.heal import HEAL_SETTINGS, heal
from projector.mend import Mender
from projector.truth import AccountTruth
from tests.invariants.test_invariant_10 import some_of_all
from tests.support import engine
from tests.support.harness import Stage, until
from tests.support.histories import DIDS, FOLLOW, LIKE, POST, made
from tests.support.rebuilding import left_behind, rebuild

TABLES = ["post", "follow", "like", "repost"]


class Interrupted(asyncpg.Connection):
    """A connection that lets somebody else do something before one of its statements."""

    before: str = ""
    done: Callable[[], Awaitable[None]] | None = None

    async def execute(self, query: str, *args: Any, **kwargs: Any) -> Any:
        if query == self.before and self.done is not None:
            done, self.done = self.done, None
            await done()
        return await super().execute(query, *args, **kwargs)


STORED_AND_PENDING = """
SELECT k, sum(n)::int FROM (
    SELECT did AS k, "followersCount" AS n FROM projector_green_profile_agg.profile_agg
    UNION ALL SELECT k, d FROM projector.outbox, unnest(keys, deltas) AS u(k, d)
    WHERE aggregate = 'profile_agg@green' AND counter = 'followersCount') AS s
GROUP BY k HAVING sum(n) <> 0
"""
ROWS = 'SELECT "subjectDid", count(*)::int FROM bsky.follow GROUP BY 1'


async def test_deltas_that_come_while_rows_are_counted_are_kept(database: Database) -> None:
    """Those from before the count are thrown away, those that come in the midst of it are not."""
    await engine.create(database)
    home = shadow.home_of(profile_agg)
    connection: Interrupted = await asyncpg.connect(database.url, connection_class=Interrupted)

    async def follow(first: int, last: int) -> None:
        events = [made(n, "create", FOLLOW, account=n % 3, rkey=n, subject=n % 2)
                  for n in range(first, last)]  # fmt: skip
        await engine.append(database, events)
        await engine.project(database, only=TABLES)

    await follow(1, 4)
    await shadow.create(connection, profile_agg, home, 3)
    await shadow_counts.feed(connection, profile_agg, home, [])
    await follow(4, 6)
    connection.before, connection.done = shadow_counts.THROW_AWAY, lambda: follow(6, 7)
    bases = {name: f'bsky."{count.table}"' for name, count in profile_agg.counters.items()}
    await shadow_counts.count(connection, profile_agg, home, bases)
    assert connection.done is None
    assert dict(await connection.fetch(STORED_AND_PENDING)) == dict(await connection.fetch(ROWS))
    await connection.close()


async def test_busy_events_beyond_one_batch_are_settled(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settle, "SETTLED_EVENTS", 5)
    events = [made(n, "create", POST, rkey=n) for n in range(1, 15)]
    events += [made(20 + n, "update", POST, rkey=n, content=1) for n in range(1, 15)]
    await engine.create(database)
    await engine.append(database, events)
    await engine.project(database)
    before = await engine.tables_of(database)
    outcome = await rebuild(database)
    assert outcome.comparison.is_equal
    assert await engine.tables_of(database) == before


async def test_a_swap_drops_the_deltas_of_the_old_counters(database: Database) -> None:
    """They wait while the aggregate is run by nobody; the rows they tell of are counted anew."""
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 41)))
    await engine.project(database, only=TABLES)
    assert (await rebuild(database, "profile_agg")).swapped
    assert await engine.differences(database) == []
    await engine.project(database)
    assert await engine.differences(database) == []


# Of records that were never deleted revisions may be noted or not.
NOTES = (
    "SELECT * FROM projector.version_post",
    "SELECT * FROM projector.version_like WHERE uri LIKE '%/r3'",
    "SELECT * FROM projector.duplicate_like",
)
LOSE = "DELETE FROM projector.{}"


async def test_a_swap_brings_what_the_engine_notes(database: Database) -> None:
    """The revisions of what was deleted, and the rows that wait for a claim, as they were before
    somebody lost them."""
    await engine.create(database)
    events = [made(n, "create", LIKE, rkey=n) for n in range(1, 4)]
    events += [made(4, "delete", LIKE, rkey=3), made(5, "create", POST), made(6, "delete", POST)]
    await engine.append(database, events)
    await engine.project(database)
    connection = await database.connect("test notes")
    notes = [await connection.fetch(query) for query in NOTES]
    assert [len(rows) for rows in notes] == [1, 1, 1]
    for table in ("version_post", "version_like", "duplicate_like"):
        await connection.execute(LOSE.format(table))
    assert (await rebuild(database)).swapped
    assert [await connection.fetch(query) for query in NOTES] == notes
    await connection.close()


def test_feeding_follows_a_swap(
    stage: Stage, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A projector applies a window while counters are built, and another after they were swapped
    in: nothing is put there for the counters that were being built."""
    count = shadow_counts.count

    async def counted(*arguments: Any) -> None:
        await count(*arguments)
        await stage.append(some_of_all(range(21, 31)))
        await stage.finish()

    monkeypatch.setattr(shadow_counts, "count", counted)

    async def run() -> None:
        await stage.begin(some_of_all(range(1, 21)))
        await stage.finish()
        assert (await rebuild(stage.database, "profile_agg")).swapped
        await stage.append(some_of_all(range(31, 41)))
        await stage.finish()
        await stage.assert_counts_are_exact()
        assert await left_behind(stage.database) == []

    runner.run(run())


HOLD = "SELECT 1 FROM projector.checkpoint WHERE projection = $1 FOR UPDATE"
WAITS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
    AND application_name = $1 AND wait_event_type = 'Lock'
"""


async def waits(database: Database, role: str, task: asyncio.Task[Any]) -> bool:
    """Whether a task comes to wait for a lock, before it is done."""
    watching = await database.connect("test watches")

    async def waits_or_is_done() -> bool:
        return task.done() or bool(await watching.fetchval(WAITS, f"projector/{role}"))

    await until(waits_or_is_done)
    await watching.close()
    return not task.done()


async def test_mending_holds_the_projector(database: Database) -> None:
    """Else it compares rows with the log, and a window is applied before it writes."""
    await engine.create(database)
    await engine.append(database, [made(1, "create", FOLLOW)])
    await engine.project(database)
    holder = await database.connect("test holds")
    await holder.execute("DELETE FROM bsky.follow")
    mending = await database.connect("test heal", **HEAL_SETTINGS)

    async def mend() -> int:
        mender = Mender(engine.DECLARATIONS, "bsky")
        return sum([p.differences async for p in heal(mending, mender, DIDS[:1], dry_run=False)])

    async with holder.transaction():
        await holder.fetchval(HOLD, "follow")
        task = asyncio.create_task(mend())
        assert await waits(database, "test heal", task)
    assert await task > 0
    assert await engine.differences(database) == []
    for connection in (holder, mending):
        await connection.close()


async def test_a_retry_holds_the_projector(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, [made(1, "invalid", LIKE)])
    await engine.project(database)
    holder = await database.connect("test holds")
    retrying = await database.connect("test retry")
    (letter,) = await letters.find(retrying)
    async with holder.transaction():
        await holder.fetchval(HOLD, "like")
        task = asyncio.create_task(letters.retry_event(retrying, letter, likes, "bsky"))
        assert await waits(database, "test retry", task)
    assert not (await task).resolved
    for connection in (holder, retrying):
        await connection.close()


def test_a_repeat_is_none_to_the_second_opinion() -> None:
    """The same update from a host that stamped it later: the row stays as the first made it."""
    update: Event = msgspec.structs.replace(made(1, "update", FOLLOW), log_offset=1)
    again = msgspec.structs.replace(update, log_offset=2, time_us=update.time_us + 5_000_000)
    truth = AccountTruth(follows).eat_all([update, again])
    ((_, row),) = truth.expected().rows.items()
    at = follows.table.columns.index("indexedAt")
    assert row[at] == update.indexed_at != again.indexed_at
