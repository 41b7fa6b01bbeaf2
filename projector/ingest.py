"""Ingest: from a source into the event log, or into a Redis stream; nothing lost, none twice."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import asyncpg

from events.event import Batch, Source
from events.log import Appended, Appender, LogCorrupt, SourceMoved, read_head
from events.recent import RecentEvents
from events.tasks import end
from projector import tally
from projector.database import Database, close_quietly, is_data_error, is_transient, retrying
from projector.errors import Corruption, HeldByAnother
from projector.lease import LeaseKeeper
from projector.pace import Rate
from projector.pulse import PULSE
from projector.rates import Rates, is_live
from projector.telemetry import append_span, receive_span

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Progress:
    """What an ingest has done since it began."""

    events: int = 0
    duplicates: int = 0
    undecodable: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    message_bytes: int = 0
    head: int = 0
    events_per_second: float = 0.0

    def add(self, batch: Batch, appended: Appended) -> None:
        """Counts one batch."""
        self.events += appended.last_offset - appended.first_offset + 1
        self.duplicates += appended.duplicates
        self.undecodable += appended.undecodable
        self.skipped.update(batch.skipped)
        self.message_bytes += batch.message_bytes
        self.head = max(self.head, appended.last_offset)


class Sink(Protocol):
    """Where batches go.

    `signs` are what is heard of it while it puts a batch (`Pulse`); none where it may wait for
    ever for a good reason.
    """

    @property
    def signs(self) -> tuple[str, ...]:
        """As above."""
        ...

    async def open(self) -> str | None:
        """Prepares; returns the saved cursor of the source."""
        ...

    async def put(self, batch: Batch) -> Appended:
        """Puts a batch, with its cursor; durable when it returns."""
        ...

    async def close(self) -> None:
        """Lets go."""
        ...


class LogSink:
    """Puts batches into the event log over one connection, through every transient trouble."""

    def __init__(
        self,
        database: Database,
        source: Source,
        keeper: LeaseKeeper,
        *,
        recent_events: int,
        partition_events: int,
        patience_seconds: float = 15.0,
    ) -> None:
        self.database = database
        self.source = source.name
        self.keeper = keeper
        self.recent = RecentEvents(recent_events) if source.rewinds and recent_events else None
        self.partition_events = partition_events
        self.patience_seconds = patience_seconds
        self.rate = Rate()
        self.rates = Rates(source.name) if is_live(source.name) else None
        self._appender: Appender | None = None
        self._lease = f"source {source.name}"

    @property
    def signs(self) -> tuple[str, ...]:
        """Answers of its connection, and attempts made again."""
        return ("append", f"appending from {self.source}")

    async def open(self) -> str | None:
        """Claims the source. Raises `HeldByAnother` when somebody else ingests it."""
        async for attempt in retrying("connecting to append", seconds=60):
            with attempt:
                await self._claim()
                return (await self._opened()).cursor
        raise AssertionError("unreachable")

    async def _claim(self) -> None:
        if not await self.keeper.take_within(self._lease, self.patience_seconds):
            holder = await self.keeper.holder(self._lease)
            raise HeldByAnother(
                f"{self.source} is being ingested by {holder}; stop that one first, or wait for it"
            )

    async def put(self, batch: Batch) -> Appended:
        """Appends a batch exactly once, however often the connection breaks."""
        async for attempt in retrying(f"appending from {self.source}"):
            with attempt:
                try:
                    return await self._put(batch)
                except SourceMoved:
                    raise HeldByAnother(
                        f"{self.source} was taken over by another process; this one lets go"
                    ) from None
                except LogCorrupt as error:
                    raise Corruption(str(error)) from error
                except Exception as error:
                    if is_transient(error):
                        await self._drop_connection()
                    elif is_data_error(error) and batch.bury_unstorable():
                        return await self.put(batch)
                    raise
        raise AssertionError("unreachable")

    async def _put(self, batch: Batch) -> Appended:
        expected = self._appender.appends if self._appender else None
        appender = await self._opened()
        landed = (None if expected is None else expected + 1, batch.cursor)
        if (appender.appends, appender.cursor) == landed:
            # The connection broke between our commit and its answer: the batch is in the log.
            # By the counter alone it might be what another, who took over, has appended.
            appender.finished(batch, counted=True)
            return Appended(1, 0, 0, 0)
        if expected is not None and appender.appends != expected:
            raise SourceMoved(self.source)
        await self._write_rates(appender.connection)
        begun = time.monotonic()
        with append_span(self.source) as span:
            appended = await appender.append(
                batch,
                events_per_second=self.rate.add(len(batch.events)),
                traceparent=span.traceparent(),
            )
            span.appended(
                appended.first_offset,
                appended.last_offset,
                appended.duplicates,
                appended.undecodable,
                batch.message_bytes,
            )
            tally.APPEND_SECONDS.add(
                time.monotonic() - begun, self.source, trace_id=tally.current_trace()
            )
        if self.rates is not None:
            self.rates.add(batch.events)
        return appended

    async def _write_rates(self, connection: asyncpg.Connection) -> None:
        """Writes what was counted before this batch; where that cannot be, it goes without."""
        if self.rates is None:
            return
        try:
            await self.rates.write(connection)
        except asyncpg.PostgresError as error:
            if is_transient(error):
                raise
            log.warning("%s: rates are not kept, so no silence is seen: %s", self.source, error)
            self.rates = None

    async def _opened(self) -> Appender:
        old = self._appender
        if old is not None and not old.connection.is_closed():
            return old
        connection = await self.database.connect("append", enable_seqscan="off")
        try:
            appender = Appender(
                connection,
                self.source,
                recent=self.recent,
                partition_events=self.partition_events,
            )
            await appender.open(fill=old is None)
        except (Exception, asyncio.CancelledError):
            await close_quietly(connection)
            raise
        self._appender = appender
        return appender

    async def _drop_connection(self) -> None:
        if self._appender is not None:
            await close_quietly(self._appender.connection)

    async def close(self) -> None:
        """Gives the source back."""
        await self._drop_connection()
        await self.keeper.release(self._lease)


Show = Callable[[Progress], None]
"""What is told of the progress after each batch."""


def show_nothing(_: Progress) -> None:
    """Tells nobody."""


async def ingest(
    source: Source, sink: Sink, stop: asyncio.Event, show: Show = show_nothing
) -> Progress:
    """Puts a source into a sink until the source ends or `stop` is set; returns what was done.

    While one batch is being put, the next is read. A batch that was begun is finished.
    """
    progress = Progress()
    rate = Rate()
    putting = False
    try:
        batches = source.batches(await sink.open())
        # In this order: whoever reads ahead lets go of the source before that is closed.
        async with aclosing(batches), aclosing(_ahead(batches, stop)) as ahead:
            # Without a batch it waits for the source, which has a patience of its own.
            with PULSE.watched(source.name, lambda: putting and bool(sink.signs), *sink.signs):
                async for batch in ahead:
                    putting = True
                    with receive_span(source.name, batch):
                        appended = await sink.put(batch)
                        await source.committed(batch.cursor)
                    putting = False
                    progress.add(batch, appended)
                    count(source.name, batch, appended)
                    progress.events_per_second = rate.add(len(batch.events))
                    show(progress)
    finally:
        await sink.close()
    return progress


def count(source: str, batch: Batch, appended: Appended) -> None:
    """Counts one batch among what this process has done."""
    now = time.time()
    tally.APPENDS.add(1, source)
    tally.APPENDED.add(appended.last_offset - appended.first_offset + 1, source)
    tally.RECEIVED.add(batch.message_bytes, source)
    tally.DUPLICATES.add(appended.duplicates, source)
    tally.LAST_APPEND.set(now, source)
    if batch.events:
        tally.SOURCE_LAG.set(now - batch.events[-1].time_us / 1_000_000, source)
    for reason, number in batch.skipped.items():
        tally.SKIPPED.add(number, source, reason)
    for letter in batch.dead:
        tally.UNDECODABLE.add(1, source, letter.reason)


async def _ahead(
    batches: AsyncGenerator[Batch, None], stop: asyncio.Event
) -> AsyncGenerator[Batch, None]:
    """Yields batches, the next being read while one is in use; ends when told to stop."""
    stopped = asyncio.create_task(stop.wait())
    following = asyncio.create_task(_next(batches))
    try:
        while True:
            await asyncio.wait((following, stopped), return_when=asyncio.FIRST_COMPLETED)
            if stop.is_set():
                return
            batch = following.result()
            if batch is None:
                return
            following = asyncio.create_task(_next(batches))
            yield batch
    finally:
        await end(stopped, following)


async def _next(batches: AsyncGenerator[Batch, None]) -> Batch | None:
    return await anext(batches, None)


def sentence(source: str) -> str:
    """What this process has done with a source, for whoever supervises it."""
    return f"{tally.APPENDED.values.get((source,), 0):,.0f} events from {source}."


async def read_log_head(database: Database) -> int:
    """The highest offset of the log, over a connection of its own."""
    connection = await database.connect("head")
    try:
        return await read_head(connection)
    finally:
        await connection.close()
