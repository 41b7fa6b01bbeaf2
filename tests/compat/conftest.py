"""The reference's tables in one database for each module, emptied for each history."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import pytest

from projector.database import Database
from projector.embedded_postgres import EmbeddedPostgres
from tests.compat.stage import ReferenceStage

_numbers = itertools.count(1)


@contextmanager
def fresh_database(postgres: EmbeddedPostgres, runner: asyncio.Runner) -> Iterator[Database]:
    """An empty database for a module, dropped afterwards."""

    async def admin(statement: str) -> None:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(statement)
        await connection.close()

    name = f"compat_{os.getpid()}_{next(_numbers)}"
    runner.run(admin(f"CREATE DATABASE {name}"))
    yield Database(postgres.url(name))
    runner.run(admin(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture(scope="module")
def reference(postgres: EmbeddedPostgres, runner: asyncio.Runner) -> Iterator[ReferenceStage]:
    """The mode in hand."""
    with fresh_database(postgres, runner) as database:
        stage = runner.run(ReferenceStage(database).open())
        yield stage
        runner.run(stage.close())
