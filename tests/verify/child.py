"""Audits a database to the end of a round, in a process of its own, which a test may kill."""

from __future__ import annotations

import asyncio
import sys

import asyncpg

from projector.auditor import Auditor
from projector.database import Database
from projector.lease import LeaseKeeper
from tests.support.engine import DECLARATIONS


async def main(url: str) -> None:
    database = Database(url)
    connection = await database.connect("test audit")
    auditor = auditor_of(database, LeaseKeeper(database))
    while await connection.fetchval("SELECT complete_as_of FROM projector.audit_state") is None:
        await step(auditor, connection)
    await connection.close()


async def step(auditor: Auditor, connection: asyncpg.Connection) -> None:
    """What it does between two rests."""
    await auditor.list_accounts(connection)
    await auditor.prove_next(connection)


def auditor_of(database: Database, keeper: LeaseKeeper, **more: float) -> Auditor:
    """An auditor of small batches."""
    rate = more.get("accounts_per_second", 1e6)
    return Auditor(
        database, keeper, DECLARATIONS, "bsky",
        accounts_per_second=rate, accounts_max=3, poll_seconds=0.01,
    )  # fmt: skip


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
