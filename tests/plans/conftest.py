"""One database a server, planted once; its plans are looked at by all tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import asyncpg
import pytest

from projector.embedded_postgres import EmbeddedPostgres
from tests.plans.life import Life, live


@pytest.fixture(scope="session")
def life(postgres: EmbeddedPostgres) -> Iterator[Life]:
    """The life of a database that stays as it is at its end."""

    async def admin(statement: str) -> None:
        connection = await asyncpg.connect(postgres.url())
        await connection.execute(statement)
        await connection.close()

    asyncio.run(admin("CREATE DATABASE plans"))
    yield live(postgres.url("plans"))
    asyncio.run(admin("DROP DATABASE plans WITH (FORCE)"))
