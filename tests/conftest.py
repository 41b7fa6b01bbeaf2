"""Real servers for the tests: one PostgreSQL per worker, a fresh database per test."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest

from projector.database import Database
from projector.embedded_postgres import CONFIGURATION, EmbeddedPostgres
from tests.support.court import Court
from tests.support.harness import Stage
from tests.support.postgres import FAST, binaries_of

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres(request: pytest.FixtureRequest) -> Iterator[EmbeddedPostgres]:
    """A running server: the wheel's PostgreSQL 18, and Debian's 15 for tests that ask for both."""
    binaries = binaries_of(request.param)
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(
            Path(folder), binaries=binaries, configuration=CONFIGURATION + FAST
        )
        server.start()
        yield server
        server.stop("immediate")


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """The URL of an empty database, dropped afterwards."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    admin = await asyncpg.connect(postgres.url())
    try:
        await admin.execute(f"CREATE DATABASE {name}")
        yield postgres.url(name)
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.fixture
def database(database_url: str) -> Database:
    """The same, as our own type."""
    return Database(database_url)


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop of a module's examples."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def stage(postgres: EmbeddedPostgres, runner: asyncio.Runner) -> Iterator[Stage]:
    """All projectors in hand over one database, for a module of many small examples: it is
    emptied for each, since making one each would cost more than all the rest."""
    yield from opened(postgres, runner, Stage)


@pytest.fixture(scope="module")
def court(postgres: EmbeddedPostgres, runner: asyncio.Runner) -> Iterator[Court]:
    """The same, where posts are judged."""
    yield from opened(postgres, runner, Court)


S = TypeVar("S", bound=Stage)


def opened(
    postgres: EmbeddedPostgres, runner: asyncio.Runner, kind: Callable[[Database], S]
) -> Iterator[S]:
    """A stage over a database of its own."""

    async def admin(statement: str) -> None:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(statement)
        await connection.close()

    name = f"stage_{os.getpid()}_{next(_numbers)}"
    runner.run(admin(f"CREATE DATABASE {name}"))
    stage = kind(Database(postgres.url(name)))
    runner.run(stage.open())
    yield stage
    runner.run(stage.close())
    runner.run(admin(f"DROP DATABASE {name} WITH (FORCE)"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests run on the wheel's server; those marked `both_servers` on Debian's 15 as well."""
    if "postgres" in metafunc.fixturenames:
        both = metafunc.definition.get_closest_marker("both_servers")
        servers = ["embedded", "debian15"] if both else ["embedded"]
        metafunc.parametrize("postgres", servers, indirect=True, scope="session")
