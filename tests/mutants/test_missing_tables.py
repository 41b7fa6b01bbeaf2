"""Tests that only a mutant showed to be missing: of the tables, and of leases."""

from __future__ import annotations

import asyncio

import msgspec

from projector.database import Database
from projector.lease import LeaseKeeper
from tests.support import engine
from tests.support.harness import Stage, until
from tests.support.histories import POST, made


def test_what_was_applied_is_not_applied_again(stage: Stage, runner: asyncio.Runner) -> None:
    """The same update, from a host that stamped it later: the row stays as it is."""
    update = made(2, "update", POST, content=1)
    later = msgspec.structs.replace(update, time_us=update.time_us + 5_000_000)

    async def run() -> None:
        await stage.begin([made(1, "create", POST), update])
        await stage.finish()
        before = await stage.everything()
        assert [row["indexedAt"] for row in (await stage.tables())["post"]] == [update.indexed_at]
        await stage.append([later])
        await stage.finish()
        assert await stage.everything() == before

    runner.run(run())


async def test_a_lease_that_was_taken_over_is_not_given_back(database: Database) -> None:
    """An owner that slept past its lease ends; the one that took over stays the owner."""
    await engine.create(database, [])
    first = LeaseKeeper(database, lease_seconds=0.001)
    second = LeaseKeeper(database, lease_seconds=3600)
    assert await first.take("projection post")
    await until(lambda: second.take("projection post"))
    await first.release("projection post")
    assert await second.holder("projection post") == second.owner
    for keeper in (first, second):
        await keeper.close()
