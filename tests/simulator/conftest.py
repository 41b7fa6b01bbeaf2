"""The ground of the simulator's tests: the worker's server, and a Redis where there is one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from projector.embedded_postgres import EmbeddedPostgres
from tests.simulator.ground import Ground, ground


@pytest.fixture
async def place_of_cases(postgres: EmbeddedPostgres) -> AsyncIterator[Ground]:
    """Where cases run."""
    async with ground(postgres) as ready:
        yield ready
