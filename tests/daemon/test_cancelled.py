"""A task that is cancelled while it connects leaves no connection open."""

from __future__ import annotations

import asyncio
import gc
import itertools
import types
import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, cast

import pytest

from projector.database import Database, close_quietly
from projector.lease import LeaseKeeper
from tests.support import engine
from tests.support.harness import until
from tests.support.watch import Watch

OPEN = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'projector/%'"
SUSPENSIONS_MIN = {"connect": 2, "take": 4}
"""As often as it waits at the least, so that the test is known to have cancelled it midway."""


async def connect(database: Database) -> None:
    await close_quietly(await database.connect("test cancelled"))


async def take(database: Database) -> None:
    keeper = LeaseKeeper(database)
    try:
        await keeper.take("audit")
    finally:
        await keeper.close()


@types.coroutine
def cancelled_at(work: Coroutine[Any, Any, None], suspension: int) -> Generator[Any, Any, bool]:
    """Runs it, cancelled where it waits for the n-th time; whether it waited so often."""
    thrown: BaseException | None = None
    try:
        for number in itertools.count(1):
            future = work.throw(thrown) if thrown else work.send(None)
            if number == suspension:
                cast(asyncio.Task[Any], asyncio.current_task()).cancel()
            try:
                thrown = None
                yield future
            except (Exception, asyncio.CancelledError) as error:
                thrown = error
    except StopIteration:
        return False
    except asyncio.CancelledError:
        return True
    raise AssertionError("unreachable")


async def leaves_nothing(watch: Watch, work: Awaitable[bool]) -> bool:
    """Runs it as a task, and waits until the server has nobody left; what it returns."""

    async def run() -> bool:
        return await work

    async def is_gone() -> bool:
        return await watch.value(OPEN) == 0

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        was_cancelled = await asyncio.create_task(run())
        gc.collect()
    assert [str(warning.message) for warning in caught] == []
    await until(is_gone)
    return was_cancelled


@pytest.mark.parametrize("work", [connect, take], ids=lambda work: work.__name__)
async def test_no_connection_is_left_wherever_a_task_is_cancelled(
    database: Database, work: Callable[[Database], Coroutine[Any, Any, None]]
) -> None:
    await engine.create(database)
    async with Watch(database.url) as watch:
        for suspension in itertools.count(1):
            if not await leaves_nothing(watch, cancelled_at(work(database), suspension)):
                break
    assert suspension > SUSPENSIONS_MIN[work.__name__]
