"""The benchmark's meter: whose task used the processor."""

from __future__ import annotations

import asyncio
import time

from ops.bench.meter import LOOP, Metered
from ops.bench.shares import measured_tasks

BUSY_SECONDS = 0.05


async def busy() -> int:
    """Keeps the processor busy for as long, and waits in between."""
    begun = time.thread_time()
    while time.thread_time() - begun < BUSY_SECONDS:
        pass
    await asyncio.sleep(0)
    return 7


async def with_a_child() -> None:
    assert await asyncio.create_task(busy()) == 7
    assert await busy() == 7


async def failing(meter: object) -> None:
    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError

    try:
        await Metered(meter, fails(), "reader")
    except ValueError:
        await Metered(meter, busy(), "reader")


async def test_a_task_is_charged_with_its_children_and_not_with_what_is_measured_apart() -> None:
    begun = time.thread_time()
    with measured_tasks(["one", "two"]) as meter:
        await asyncio.gather(
            asyncio.create_task(with_a_child(), name="one"),
            asyncio.create_task(failing(meter), name="two"),
        )
    all_seconds = time.thread_time() - begun
    assert meter.seconds["one"] >= 2 * BUSY_SECONDS
    assert meter.seconds["reader"] >= BUSY_SECONDS
    assert meter.seconds["two"] < BUSY_SECONDS
    assert set(meter.seconds) == {"one", "two", "reader", LOOP}
    assert sum(meter.seconds.values()) <= all_seconds


async def test_a_task_that_is_cancelled_ends() -> None:
    with measured_tasks(["one"]):
        task = asyncio.create_task(asyncio.sleep(3600), name="one")
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
