"""A case for the doctor: a real database; and a server on which everything is wrong."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from projector.database import Database
from projector.doctor.finding import Case, Finding
from projector.embedded_postgres import EmbeddedPostgres
from projector.settings import Settings
from tests.cli.conftest import place, ready, watch
from tests.support.engine import DECLARATIONS, create
from tests.support.postgres import binaries_of

__all__ = ["place", "ready", "watch"]

AILING = """
listen_addresses = ''
max_connections = 12
shared_buffers = 16MB
max_wal_size = 64MB
autovacuum = off
track_counts = off
full_page_writes = off
statement_timeout = 1h
lock_timeout = 1min
commit_delay = 100000
commit_siblings = 0
max_prepared_transactions = 4
"""
"""Durable, so that commits can be slow."""


def names(found: list[Finding]) -> dict[str, str]:
    """The severity of each finding, by name."""
    return {finding.name: finding.severity for finding in found}


def one(found: list[Finding], name: str) -> Finding:
    """The finding of that name."""
    (finding,) = [finding for finding in found if finding.name == name]
    assert finding.cause
    assert finding.cure or finding.severity == "good"
    return finding


@pytest.fixture(scope="module", params=["embedded", "debian15"])
def ailing(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A server as nobody should have it."""
    binaries = binaries_of(request.param)
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder), binaries=binaries, configuration=AILING)
        server.start()
        yield server
        server.stop("immediate")


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the empty database."""
    connection = await database.connect("doctor")
    yield connection
    await connection.close()


@pytest.fixture
def empty(database: Database, connection: asyncpg.Connection) -> Case:
    """An empty database."""
    return Case(database, connection, DECLARATIONS, Settings(), False)


@pytest.fixture
async def case(empty: Case) -> Case:
    """The same, after `init`."""
    await create(empty.database)
    return replace(empty, has_engine=True)
