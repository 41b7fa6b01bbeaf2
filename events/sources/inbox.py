"""A bounded queue between one task that receives and one that consumes."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple

from events.event import Decoded


class Received(NamedTuple):
    """One decoded message, its size on the wire, and the position (microseconds) after it."""

    decoded: Decoded
    message_bytes: int
    cursor_us: int | None


class Inbox:
    """Holds at most `messages_max` messages, and less than `bytes_max` bytes plus one message."""

    def __init__(self, messages_max: int, bytes_max: int) -> None:
        self._messages_max = messages_max
        self._bytes_max = bytes_max
        self._items: deque[Received] = deque()
        self._bytes = 0
        self._arrival: asyncio.Future[None] | None = None
        self._arrival_messages = 0
        self._room: asyncio.Future[None] | None = None
        self._closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def full(self) -> bool:
        """Whether the receiving side has to wait for `room`."""
        return len(self._items) >= self._messages_max or self._bytes >= self._bytes_max

    def put(self, item: Received) -> None:
        """Adds a message; call it only when not `full`."""
        self._items.append(item)
        self._bytes += item.message_bytes
        if self._arrival is not None and (len(self) >= self._arrival_messages or self.full):
            self._wake()

    async def room(self) -> None:
        """Waits until it is not full. For one task only."""
        while self.full:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    async def arrival(self, messages: int) -> None:
        """Waits for that many messages, until it is full, or for `close`. For one task only."""
        if len(self) >= messages or self.full or self._closed:
            return
        self._arrival_messages = messages
        self._arrival = asyncio.get_running_loop().create_future()
        try:
            await self._arrival
        finally:
            self._arrival = None

    def close(self) -> None:
        """No more messages will come: nothing waits for them from now on."""
        self._closed = True
        self._wake()

    def take(self, messages_max: int) -> list[Received]:
        """Removes the oldest messages, at most that many."""
        taken = [self._items.popleft() for _ in range(min(messages_max, len(self._items)))]
        self._bytes -= sum(item.message_bytes for item in taken)
        if self._room is not None and not self._room.done() and not self.full:
            self._room.set_result(None)
        return taken

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
