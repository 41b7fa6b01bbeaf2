"""What the tests of explain, history and bisect have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from projector.database import Database
from tests.support.cli import Place
from tests.support.engine import create
from tests.support.watch import Watch


@pytest.fixture
async def ready(tmp_path: Path, database_url: str, database: Database) -> Place:
    """Where commands run on a database that has all tables."""
    await create(database)
    return Place(tmp_path, "--database", database_url)


@pytest.fixture
async def watch(database_url: str) -> AsyncIterator[Watch]:
    """Looks at the same database, and damages it."""
    async with Watch(database_url) as watch:
        yield watch
