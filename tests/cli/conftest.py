"""What the tests of the command line have in common."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from projector.database import Database
from tests.support.cli import Place
from tests.support.engine import create
from tests.support.watch import Watch


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Place:
    """Where commands run on a server that is named to them; its database is empty."""
    return Place(tmp_path, "--database", database_url)


@pytest.fixture
async def ready(place: Place, database: Database) -> Place:
    """The same, after `init`."""
    await create(database)
    return place


@pytest.fixture
async def watch(database_url: str) -> AsyncIterator[Watch]:
    """Looks at the same database."""
    async with Watch(database_url) as watch:
        yield watch
