"""What the tests of healing have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from projector.database import Database
from tests.support.cli import Place
from tests.support.engine import create
from tests.support.watch import Watch


@pytest.fixture
async def database(database: Database) -> Database:
    """A database with all tables."""
    await create(database)
    return database


@pytest.fixture
async def place(tmp_path: Path, database: Database) -> Place:
    """Where commands run on it."""
    return Place(tmp_path, "--database", database.url)


@pytest.fixture
async def watch(database: Database) -> AsyncIterator[Watch]:
    """Looks at the same database."""
    async with Watch(database.url) as watch:
        yield watch
