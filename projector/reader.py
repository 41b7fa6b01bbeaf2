"""The reader: serves windows of the log to all projectors of a daemon, reading each range once."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final, TypeVar

import asyncpg

from events.event import Event
from events.history import WholeLog
from events.log import read_head, read_traces
from projector.database import Database, close_quietly, is_transient, retrying
from projector.declare import EVERY_COMMIT
from projector.fold import Window
from projector.pulse import PULSE

T = TypeVar("T")
Names = tuple[str, ...] | list[str]
"""Of collections; not any sequence of texts, since a text is one, too."""

READ: Final = ("the log", "reading the log")
"""By which something is heard of the reader: a part was read, or it tries again."""

EVENT_BYTES: Final = 700
"""What an event takes in memory beside its record's JSON, about."""


@dataclass(slots=True)
class Block:
    """An aligned range of offsets, read as far as `through`, sorted by what it concerns.

    `named` has the commits by collection, all of them under `*`, and other events by their kind,
    with `#` before it.
    """

    after: int
    through: int
    named: dict[str, list[Event]] = field(default_factory=dict)
    removals: list[Event] = field(default_factory=list)
    record_bytes: int = 0

    def add(self, events: Sequence[Event], through: int) -> None:
        """Adds the events that follow those it has."""
        for event in events:
            if event.kind == "commit":
                self.named.setdefault(event.collection or "", []).append(event)
                self.named.setdefault(EVERY_COMMIT, []).append(event)
                self.record_bytes += len(event.record or b"") + EVENT_BYTES
                continue
            self.named.setdefault(f"#{event.kind}", []).append(event)
            if event.removes_account:
                self.removals.append(event)
        self.through = through

    def window(self, after: int, through: int, collections: Names) -> Window:
        """What of the offsets above `after` up to `through` concerns these collections.

        Where kinds of events are asked for (`#account`), removals are among them, and not apart.
        """
        parts = [_between(self.named.get(c, []), after, through) for c in collections]
        commits = parts[0] if len(parts) == 1 else sorted(chain(*parts), key=_offset)
        apart = not any(name.startswith("#") for name in collections)
        removals = _between(self.removals, after, through) if apart else []
        return Window(after, through, commits, removals)


def _offset(event: Event) -> int:
    return event.log_offset


def _between(events: list[Event], after: int, through: int) -> list[Event]:
    start = bisect_right(events, after, key=_offset)
    return events[start : bisect_right(events, through, key=_offset)]


class LogReader:
    """Reads the log in aligned blocks over one connection and keeps the last few.

    Projectors that are at the same place, as all of them are at the log's tail, share a block, so
    that the tail is read and parsed once. Memory is bounded by `bytes_max` (an estimate from the
    records' sizes) beyond the block in use.
    """

    def __init__(
        self,
        database: Database,
        collections: Sequence[str],
        *,
        block_events: int = 10_000,
        fetch_events: int = 2_000,
        bytes_max: int = 32 * 1024 * 1024,
    ) -> None:
        self.database = database
        self.collections = None if EVERY_COMMIT in collections else sorted(set(collections))
        self.block_events = block_events
        self.fetch_events = min(fetch_events, block_events)
        self.bytes_max = bytes_max
        self.head = 0
        self._log = WholeLog()
        self._moved = asyncio.Condition()
        self._blocks: OrderedDict[int, Block] = OrderedDict()
        self._lock = asyncio.Lock()
        self._connection: asyncpg.Connection | None = None

    async def head_moved(self, head: int) -> None:
        """Tells the reader, and all who wait at the tail, that the log's head is at `head`."""
        if head > self.head:
            self.head = head
            async with self._moved:
                self._moved.notify_all()

    async def refresh(self) -> int:
        """Asks the database for the head."""
        async with self._lock:
            head = await self._retried(read_head)
        await self.head_moved(head)
        return head

    async def wait_beyond(self, after: int) -> None:
        """Waits until the log's head is beyond `after`."""
        async with self._moved:
            await self._moved.wait_for(lambda: self.head > after)

    async def window(
        self,
        after: int,
        collections: Names,
        events_max: int,
        idle_seconds: float = 0.0,
    ) -> Window:
        """The next window of some collections after `after`; waits at the log's head.

        It spans at most `events_max` offsets and ends at a block's end at the latest. At the head,
        one of no concern to them is held back for so long, so that it may grow instead of moving
        a checkpoint for each append.
        """
        await self.wait_beyond(after)
        deadline = asyncio.get_running_loop().time() + idle_seconds
        while True:
            async with self._lock:
                block = await self._block(after, after + events_max)
            window = block.window(after, min(block.through, after + events_max), collections)
            if window.events or not idle_seconds or window.through < self.head:
                return window
            try:
                async with asyncio.timeout_at(deadline):
                    await self.wait_beyond(window.through)
            except TimeoutError:
                return window

    async def _block(self, after: int, wanted: int) -> Block:
        number = after // self.block_events
        block = self._blocks.get(number)
        start = number * self.block_events
        if block is None or block.after > after:
            block = Block(after=start if after == start else after, through=after)
            self._blocks[number] = block
        self._blocks.move_to_end(number)
        end = min(self.head, start + self.block_events, wanted)
        while block.through < end and block.record_bytes < self.bytes_max:
            through = min(block.through + self.fetch_events, end)
            block.add(await self._read(block.through, through), through)
        if block.through <= after:
            # The block alone is above the limit: what is left of it is read as a block of its own.
            del self._blocks[number]
            return await self._block(after, wanted)
        self._evict(number)
        return block

    async def appends(self, window: Window) -> list[str]:
        """The W3C traceparents of the appends that a window's offsets came by; for traces only."""
        async with self._lock:
            return await self._retried(
                lambda connection: read_traces(connection, window.after, window.through)
            )

    def _evict(self, keep: int) -> None:
        held = sum(block.record_bytes for block in self._blocks.values())
        for number in list(self._blocks):
            if held <= self.bytes_max:
                return
            if number != keep:
                held -= self._blocks.pop(number).record_bytes

    async def _read(self, after: int, through: int) -> list[Event]:
        read = await self._retried(
            lambda connection: self._log.read(connection, after, through, self.collections)
        )
        PULSE.beat(READ[0])
        return read

    async def _retried(self, read: Callable[[asyncpg.Connection], Awaitable[T]]) -> T:
        async for attempt in retrying(READ[1]):
            with attempt:
                try:
                    return await read(await self._connected())
                except Exception as error:
                    if is_transient(error):
                        await self.close()
                    raise
        raise AssertionError("unreachable")

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await self.database.connect("reader", enable_seqscan="off")
        return self._connection

    async def close(self) -> None:
        """Closes the connection, and the archive's files."""
        await close_quietly(self._connection)
        self._connection = None
        await self._log.close()
