"""One database and one event loop for all examples of a module: a database each costs too much."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from projector.database import Database
from projector.embedded_postgres import EmbeddedPostgres
from tests.support.harness import Stage

NAME = "model"


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """The event loop in which the examples run."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def stage(postgres: EmbeddedPostgres, runner: asyncio.Runner) -> Iterator[Stage]:
    """All projectors in hand, over a database of their own."""

    async def admin(statement: str) -> None:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(statement)
        await connection.close()

    runner.run(admin(f"CREATE DATABASE {NAME}"))
    stage = runner.run(Stage(Database(postgres.url(NAME))).open())
    yield stage
    runner.run(stage.close())
    runner.run(admin(f"DROP DATABASE {NAME} WITH (FORCE)"))
