"""Each staged failure is named by the page and by `projector status`, with what to type."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from ops.staged.failures import FAILURES
from ops.staged.pipeline import Pipeline, pipeline
from tests.support.redis_server import require_redis

SECONDS_MAX = 60.0
EIGHT = {
    "upstream-silent", "upstream-lossy", "postgres-slow", "redis-full", "projection-stuck",
    "count-damaged", "daemon-dead", "disk-nearly-full",
}  # fmt: skip


QUIET = ("postgres-slow", "redis-full", "count-damaged", "upstream-silent")
"""For these the host need not speak: it is silent from the first on, as silence takes longest."""
ORDER = [*(name for name in FAILURES if name not in QUIET), *QUIET]


@pytest.fixture(scope="module")
def pipe(runner: asyncio.Runner) -> Iterator[Pipeline]:
    """One pipeline, in which one failure after the other is made and mended."""
    require_redis()
    entered = pipeline()
    yield runner.run(entered.__aenter__())
    runner.run(entered.__aexit__(None, None, None))


@pytest.mark.parametrize("name", ORDER)
def test_it_is_named_within_a_minute(pipe: Pipeline, runner: asyncio.Runner, name: str) -> None:
    failure = FAILURES[name]
    if failure.needs_root and os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")

    pipe.speaks = name not in QUIET

    async def stage() -> None:
        async with failure.act(pipe):
            await pipe.until_told(*failure.says, seconds=SECONDS_MAX)
            assert (await pipe.told())["level"] in ("warn", "bad")
            status = await pipe.place.json("status")
            for text in failure.says:
                assert text in status["sentence"]

    runner.run(stage())


def test_all_eight_are_there() -> None:
    assert set(FAILURES) == EIGHT
