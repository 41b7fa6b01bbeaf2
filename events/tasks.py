"""Ending tasks for certain, and pausing."""

from __future__ import annotations

import asyncio
from typing import Any, Final

AGAIN_SECONDS: Final = 0.5
"""How long a task may take for its end before it is cancelled once more."""


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancels tasks until they have ended; what they raise stays in them.

    One cancellation may not be enough: where it comes just before a timeout of no length (redis-py
    has one before every command), CPython up to 3.12 takes it for that timeout, and the task goes
    on.
    """
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN_SECONDS)
    await asyncio.gather(*tasks, return_exceptions=True)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Waits so long, or until told to stop."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
