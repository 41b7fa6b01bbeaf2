"""A real Redis server per test, of every version that is here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.redis_case import Said
from tests.support.redis_server import RedisServer, redis_binaries, require_redis


@pytest.fixture(params=sorted(redis_binaries()) or ["none"])
async def server(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RedisServer]:
    require_redis()
    async with RedisServer(redis_binaries()[request.param], tmp_path / "redis") as running:
        yield running


@pytest.fixture
def said() -> Said:
    return Said()
