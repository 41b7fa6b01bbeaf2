"""What becomes of leases whose connection is gone, or that could not be given back."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from projector import schema
from projector.database import Database
from projector.lease import LeaseKeeper
from tests.support.harness import BROKEN, until

GONE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'projector/leases' AND datname = current_database()
"""
HOLD = "SELECT FROM projector.lease WHERE name = 'projection like' FOR UPDATE"
CANCELLED = "SELECT NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
UNTIL = "SELECT name, until FROM projector.lease"


async def test_a_lease_that_another_took_while_we_were_cut_off_is_said(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Found by a network that forgot its connections while a daemon slept."""
    admin = await database.connect("test admin")
    await schema.create(admin, [], "bsky", partition_events=10_000)
    first, second = LeaseKeeper(database), LeaseKeeper(database)
    try:
        assert await first.take("projection like")
        assert await admin.fetchval(GONE) == 1
        await until(lambda: second.take("projection like"))

        async def connected() -> bool:
            try:
                return await first.take("projection post")
            except BROKEN:
                return False

        await until(connected)
        assert first.held == {"projection post"}
        assert "lease projection like was taken by another" in caplog.text
    finally:
        for each in (first, second):
            await each.close()
        await admin.close()


async def test_a_lease_that_could_not_be_given_back_runs_out(
    database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Else nobody has the projection while this daemon lives, which renews its other leases."""
    caplog.set_level(logging.INFO, "projector.lease")
    admin = await database.connect("test admin")
    await schema.create(admin, [], "bsky", partition_events=10_000)
    first = LeaseKeeper(replace(database, command_timeout_seconds=0.5), lease_seconds=2.0)
    second = LeaseKeeper(database)
    try:
        assert await first.take("projection like")
        assert await first.take("projection post")
        async with admin.transaction():
            await admin.execute(HOLD)
            await first.release("projection like")
            await until(lambda: admin.fetchval(CANCELLED))
        assert "lease projection like not given back" in caplog.text
        before = dict(await admin.fetch(UNTIL))
        await first._renew()
        after = dict(await admin.fetch(UNTIL))
        assert after["projection like"] == before["projection like"]
        assert after["projection post"] > before["projection post"]
        await until(lambda: second.take("projection like"))
        assert first.held == {"projection post"}
    finally:
        for each in (first, second):
            await each.close()
        await admin.close()
