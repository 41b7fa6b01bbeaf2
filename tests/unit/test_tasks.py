"""A task is ended even where one cancellation gets lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from events.event import Batch
from events.log import Appended
from events.tasks import end
from projector.ingest import ingest


async def swallowing(times: int) -> None:
    """Takes so many cancellations for timeouts, as a library may."""
    while True:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if not times:
                raise
            times -= 1


async def test_a_lost_cancellation_is_made_up_for() -> None:
    tasks = [asyncio.create_task(swallowing(times)) for times in (0, 1, 2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await end(*tasks)
    assert all(task.cancelled() for task in tasks)


async def test_what_has_ended_already_is_let_be() -> None:
    async def fails() -> None:
        raise ValueError

    task = asyncio.create_task(fails())
    await asyncio.wait([task])
    await end(task)
    assert isinstance(task.exception(), ValueError)


class Deaf:
    """A source that waits for ever and loses the first cancellation."""

    name = "deaf"
    rewinds = False

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        yield Batch("1")
        await swallowing(1)

    async def committed(self, cursor: str) -> None:
        self.stop.set()

    stop: asyncio.Event


class Nowhere:
    """A sink that takes everything."""

    signs = ()

    async def open(self) -> str | None:
        return None

    async def put(self, batch: Batch) -> Appended:
        return Appended(1, 0, 0, 0)

    async def close(self) -> None:
        pass


async def test_an_ingest_that_is_told_to_stop_stops() -> None:
    source = Deaf()
    source.stop = asyncio.Event()
    async with asyncio.timeout(10):
        await ingest(source, Nowhere(), source.stop)
