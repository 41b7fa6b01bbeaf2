"""The ground of the simulator's tests: the worker's server, and a Redis where there is one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from projector.embedded_postgres import EmbeddedPostgres
from tests.conftest import opened
from tests.simulator.ground import Ground, ground
from tests.simulator.hands import Everything


@pytest.fixture
async def place_of_cases(postgres: EmbeddedPostgres) -> AsyncIterator[Ground]:
    """Where cases run."""
    async with ground(postgres) as ready:
        yield ready


@pytest.fixture(scope="module")
def every(postgres: EmbeddedPostgres, runner: asyncio.Runner) -> Iterator[Everything]:
    """All projections in hand."""
    yield from opened(postgres, runner, Everything)
