"""What becomes of leases whose connection is gone."""

from __future__ import annotations

import pytest

from projector import schema
from projector.database import Database
from projector.lease import LeaseKeeper
from tests.support.harness import BROKEN, until

GONE = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE application_name = 'projector/leases' AND datname = current_database()
"""


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
