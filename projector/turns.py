"""Turns: a few places, and whoever has the most to do is next."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count


class Turns:
    """So many places. Of those that wait for one, the largest is next: what comes after its turn
    then goes on beside the turns of the smaller, and is not what all wait for in the end."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._came = count()

    @asynccontextmanager
    async def turn(self, size: int = 0) -> AsyncIterator[None]:
        """Waits for a place, and has it until the end; of equal size whoever came first."""
        await self._enter(size)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, size: int) -> None:
        if self._free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (-size, next(self._came), place))
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self._leave()  # It was given the place, and is no more.
            raise

    def _leave(self) -> None:
        while self._waiting:
            *_, place = heapq.heappop(self._waiting)
            if not place.done():
                place.set_result(None)
                return
        self._free += 1
