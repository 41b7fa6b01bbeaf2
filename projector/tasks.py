"""Tasks that are waited for together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence


async def first_failure(
    work: Sequence[asyncio.Task[None]], background: Sequence[asyncio.Task[None]]
) -> None:
    """Waits for all of `work`; raises the first error of any task at once."""
    pending: set[asyncio.Task[None]] = {*work, *background}
    while not all(task.done() for task in work):
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
