"""The public firehose as a source: Jetstream hosts over websockets, one after another.

What is guaranteed, with clocks that agree within `rewind_seconds`: nothing that a host had at or
after the cursor is lost, and the events of one repo keep their order; some come twice. A host that
takes the cursor for the future is passed over; when all do, one is asked from as far back as the
cursor is ahead of it (or old).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from pathlib import Path
from typing import Final

from events.errors import SourceError
from events.event import Batch, Limits, Report, Wanted, nothing
from events.sources.inbox import Inbox, Received
from events.sources.jetstream_frames import FrameDecoder, read_dictionary
from events.sources.jetstream_position import Position, wall_us
from events.sources.jetstream_reader import Pace, Reader
from events.sources.jetstream_turns import Turns
from events.sources.jetstream_url import PUBLIC_HOSTS, parse_cursor, parse_host, parse_source
from events.tasks import end

__all__ = ["PUBLIC_HOSTS", "JetstreamSource", "parse_source"]

MIB: Final = 1024 * 1024


class JetstreamSource:
    """Reads one of `hosts` at a time; see the module for what is guaranteed.

    `parse_source` gives `hosts` (addresses with their path) and `name` from what an operator
    writes. Memory: the inbox (`queue_messages_max`, and `queue_bytes_max` plus one message), and
    in the library at most two messages of `message_bytes_hard_max` and what one read gives.

    - `on_lost`: called whenever a connection has ended or cannot be made.
    - `rewind_seconds`: how far before the last message a resumed connection begins.
    - `silent_seconds`: a host that says nothing for so long loses its turn. Raise it where few
      accounts are wanted. The time we hold a host back does not count.
    - `linger_ms`: how long to gather a fuller batch once there is a message.
    - `zstd_dictionary`: the file with Jetstream's dictionary; with it messages come compressed.
    - `message_bytes_hard_max`: a greater message cannot be received; see `Position.stuck`.
    - `now_us`: our clock, in microseconds since 1970.

    Raises SourceError for addresses, files and numbers that cannot be used.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        *,
        name: str,
        wanted: Wanted,
        limits: Limits,
        report: Report,
        on_lost: Callable[[], None] = nothing,
        batch_events_max: int = 2_000,
        queue_messages_max: int = 10_000,
        queue_bytes_max: int = 64 * MIB,
        rewind_seconds: float = 5,
        silent_seconds: float = 20,
        connect_seconds_max: float = 10,
        backoff_seconds_min: float = 0.5,
        backoff_seconds_max: float = 60,
        linger_ms: float = 10,
        message_bytes_hard_max: int = 64 * MIB,
        zstd_dictionary: Path | None = None,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        if not hosts or min(batch_events_max, queue_messages_max, queue_bytes_max) < 1:
            raise SourceError(f"{name}: needs a host, and bounds of at least 1")
        dictionary = None if zstd_dictionary is None else read_dictionary(zstd_dictionary)
        self._hosts = [parse_host(url, wanted, dictionary is not None) for url in hosts]
        self._name = name
        self._report = report
        self._on_lost = on_lost
        self._decoder = FrameDecoder(limits, wanted, dictionary)
        self._queue_messages_max = queue_messages_max
        self._queue_bytes_max = queue_bytes_max
        self._batch_events_max = batch_events_max
        self._rewind_us = round(rewind_seconds * 1_000_000)
        self._linger_seconds = linger_ms / 1000
        self._now_us = now_us
        self._backoff_seconds_min = backoff_seconds_min
        self._backoff_seconds_max = backoff_seconds_max
        self._pace = Pace(
            silent_seconds=silent_seconds,
            connect_seconds_max=connect_seconds_max,
            message_bytes_hard_max=message_bytes_hard_max,
        )

    @property
    def name(self) -> str:
        """Under which the cursor is kept."""
        return self._name

    @property
    def rewinds(self) -> bool:
        """True: a resumed connection begins before the cursor."""
        return True

    async def committed(self, cursor: str) -> None:
        """Nothing to do: hosts keep no state of ours."""

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        """Batches from `rewind_seconds` before `cursor` on, or live without one; never ends.

        A batch's cursor is the greatest `time_us` so far, in decimal, or, where what was read is
        read again from further back than `rewind_seconds`, how far that has come. It is empty
        while no message with a time has come, and an empty one counts as none.
        Raises SourceError for a cursor that is no number.
        """
        inbox = Inbox(self._queue_messages_max, self._queue_bytes_max)
        reader = self._reader(inbox, self._start_us(cursor))
        reading = asyncio.create_task(reader.run(), name=f"{self._name} reader")
        reading.add_done_callback(lambda _: inbox.close())
        try:
            while True:
                await inbox.arrival(1)
                if reading.done():
                    reading.result()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._linger_seconds):
                        await inbox.arrival(self._batch_events_max)
                yield _batch(inbox.take(self._batch_events_max))
        finally:
            await end(reading)

    def _reader(self, inbox: Inbox, start_us: int | None) -> Reader:
        position = Position(start_us, self._rewind_us, self._now_us)
        turns = Turns(
            self._hosts,
            position,
            backoff_seconds_min=self._backoff_seconds_min,
            backoff_seconds_max=self._backoff_seconds_max,
        )
        return Reader(
            turns,
            position,
            self._decoder,
            inbox,
            pace=self._pace,
            report=self._report,
            on_lost=self._on_lost,
        )

    def _start_us(self, cursor: str | None) -> int | None:
        if not cursor:
            return self._hosts[0].start
        return parse_cursor(cursor, self._name)


def _batch(taken: Sequence[Received]) -> Batch:
    last_us = taken[-1].cursor_us
    batch = Batch(cursor="" if last_us is None else str(last_us))
    for decoded, message_bytes, _ in taken:
        batch.add(decoded)
        batch.message_bytes += message_bytes
    return batch
