"""Projectors: the loops that keep one table, or one aggregate, in step with the log."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Final, Generic, TypeVar

import asyncpg

from events.event import Event
from projector import tally
from projector.aggregate import Merged, Merger, Taker
from projector.apply import TableWriter
from projector.committing import read_checkpoint
from projector.database import APPLY_SETTINGS, SERVER_ERRORS, Database, close_quietly, one_line
from projector.declare import AccountProjection, Aggregate, Fed, Projection, Row
from projector.derived import Homes, Refresher
from projector.fold import Folded, Folder, Letter, Steps, Window
from projector.formation import Formation
from projector.home import Home
from projector.loop import WindowLoop
from projector.pace import AdaptiveWindow, Rate
from projector.reader import LogReader
from projector.telemetry import apply_span, is_recorded, merge_span
from projector.window_traces import keep_merge, keep_window
from projector.windows import Applied, Probed, Step

log = logging.getLogger(__name__)

REST: Final = 8.0
"""How long an aggregate rests after a merge, in times of what the merge took."""
REST_SECONDS_MAX: Final = 1.0
REST_SECONDS_LIVE_MAX: Final = 0.02
"""The longest rest after a merge of fewer than `MANY_DELTAS`, as they are at the log's tail."""
MANY_DELTAS: Final = 2_000

PROBED_ROWS_MIN: Final = 1_000
"""Windows of at least so many fresh rows are looked up ahead, on a connection of their own."""

OnRows = Callable[[str, Sequence[Row]], None]
"""Told of new rows, and of which projection they are."""


F = TypeVar("F", bound=Folded)
"""What a window is folded to."""


class SingleProjector(WindowLoop[F], Generic[F]):
    """Applies one projection, of records or of accounts; `home` is where its tables are."""

    def __init__(
        self,
        projection: Projection | AccountProjection,
        database: Database,
        reader: LogReader,
        *,
        home: Home,
        window: AdaptiveWindow,
        formation: Formation | None,
    ) -> None:
        super().__init__(
            home.name, projection.collections, database, reader, window=window, formation=formation
        )
        self.declaration = projection
        self.rate = Rate()

    @abstractmethod
    async def _write(
        self, connection: asyncpg.Connection, step: Step, folded: F, probed: Probed | None
    ) -> Applied:
        """Applies a window; when it returns all of it is committed, else nothing is."""

    def _applied(self, folded: F) -> None:
        """Tells that rows came or went."""

    async def _begin(self, connection: asyncpg.Connection, _stop: asyncio.Event) -> int:
        return await read_checkpoint(connection, self.declaration, self.name)

    async def _commit(
        self, connection: asyncpg.Connection, window: Window, folded: F, probed: Probed | None
    ) -> int:
        step = Step(window.after, window.through, window.events, self.rate.add(window.events))
        appends = await self.reader.appends(window) if is_recorded() else ()
        begun = time.monotonic()
        with apply_span(self.name, window, appends) as span:
            traceparent = span.traceparent()
            if traceparent is not None:
                await keep_window(connection, self.name, window, traceparent)
            applied = await self._write(connection, step, folded, probed)
            count(self.name, window.events, folded, applied, time.monotonic() - begun)
            span.did(
                rows_inserted=applied.inserted,
                rows_deleted=applied.deleted,
                deltas=applied.deltas,
                dead_letters=len(folded.letters),
            )
        if applied.inserted or applied.deleted:
            self._applied(folded)
        return window.through


class TableProjector(SingleProjector[Folded]):
    """Applies one projection of records."""

    def __init__(
        self,
        projection: Projection,
        database: Database,
        reader: LogReader,
        *,
        home: Home,
        window: AdaptiveWindow,
        formation: Formation | None = None,
        on_deltas: Callable[[], None] = lambda: None,
        on_rows: OnRows = lambda _name, _rows: None,
    ) -> None:
        super().__init__(
            projection, database, reader, home=home, window=window, formation=formation
        )
        self.projection = projection
        self.writer = TableWriter(projection, home)
        self.on_deltas = on_deltas
        self.on_rows = on_rows
        self._folder = Folder(projection)
        self._probing: asyncpg.Connection | None = None

    def _fold(self, window: Window) -> Steps[tuple[Window, Folded]]:
        return self._folder.beginning_steps(window)

    async def _look_ahead(self, folded: Folded) -> Probed | None:
        # Beside the window before, so that Postgres writes one while it looks up the next. What
        # fails here is met again, and dealt with, when the window is applied.
        if len(folded.fresh) < PROBED_ROWS_MIN:
            return None
        try:
            if self._probing is None or self._probing.is_closed():
                self._probing = await self.database.connect(f"probe {self.name}", **APPLY_SETTINGS)
            return await self.writer.probe(self._probing, folded)
        except (*SERVER_ERRORS, ValueError) as error:
            log.debug("%s: not probed ahead: %s", self.name, one_line(error))
            return None

    def _meanwhile(self, probed: Probed, before: Folded) -> None:
        self.writer.meanwhile(probed, before)

    async def _end(self) -> None:
        await close_quietly(self._probing)
        self._probing = None

    def _letter(self, _event: Event, letter: Letter) -> Folded:
        return Folded(letters=[letter])

    async def _write(
        self, connection: asyncpg.Connection, step: Step, folded: Folded, probed: Probed | None
    ) -> Applied:
        return await self.writer.apply(connection, step, folded, probed)

    def _applied(self, folded: Folded) -> None:
        self.on_deltas()
        self.on_rows(self.projection.name, folded.fresh)


def count(name: str, events: int, folded: Folded, applied: Applied, seconds: float) -> None:
    """Counts what a window did to a projection."""
    tally.WINDOWS.add(1, name)
    tally.WINDOW_EVENTS.add(events, name)
    tally.ROWS.add(applied.inserted, name, "inserted")
    tally.ROWS.add(applied.deleted, name, "deleted")
    tally.DELTAS.add(applied.deltas, name)
    tally.WINDOW_SECONDS.add(seconds, name, trace_id=tally.current_trace())
    for letter in folded.letters:
        tally.LETTERS_MADE.add(1, name, letter.reason)


class AggregateProjector:
    """Merges the deltas of one aggregate, or refreshes a derived table, as word of them comes.

    `homes` says where the projections are whose rows a derived table comes of: by default live.
    """

    def __init__(
        self,
        aggregate: Fed,
        database: Database,
        *,
        home: Home,
        poll_seconds: float = 1.0,
        outbox_rows_max: int = 24,
        homes: Homes | None = None,
    ) -> None:
        self.name = home.name
        self.aggregate = aggregate
        self.database = database
        self.merger: Taker = (
            Merger(aggregate, home, outbox_rows_max)
            if isinstance(aggregate, Aggregate)
            else Refresher(aggregate, home, outbox_rows_max, homes)
        )
        self.poll_seconds = poll_seconds
        self.rate = Rate()
        self._woken = asyncio.Event()
        self._finish = asyncio.Event()

    def finish(self) -> None:
        """Says that no more deltas will come than those that wait."""
        self._finish.set()
        self.wake()

    def wake(self) -> None:
        """Says that there may be deltas."""
        self._woken.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Merges until told to stop, or, once told to finish, until no deltas wait."""
        connection = await self.database.connect(f"merge {self.name}", **APPLY_SETTINGS)
        try:
            await read_checkpoint(connection, self.aggregate, self.name)
            while not stop.is_set():
                last = self._finish.is_set()
                self._woken.clear()
                begun = time.monotonic()
                merged = await self._merge(connection)
                if merged.rows:
                    await self._rest(stop, merged.deltas, time.monotonic() - begun)
                    continue
                if last:
                    return
                await self._wait(stop)
        finally:
            await close_quietly(connection)

    async def _merge(self, connection: asyncpg.Connection) -> Merged:
        begun, begun_ns = time.monotonic(), time.time_ns()
        merged = await self.merger.merge(connection, self.rate.add(0))
        self.rate.add(merged.deltas)
        if merged.rows:
            windows = [window.traceparent for window in merged.windows]
            with merge_span(self.name, begun_ns, windows) as span:
                span.did(outbox_rows=merged.rows, deltas=merged.deltas)
                self._count(merged, time.monotonic() - begun)
                traceparent = span.traceparent()
            if merged.windows and traceparent is not None:
                await keep_merge(connection, self.name, merged.windows, traceparent)
        return merged

    def _count(self, merged: Merged, seconds: float) -> None:
        tally.MERGES.add(1, self.name)
        tally.MERGED.add(merged.deltas, self.name)
        tally.MERGE_SECONDS.add(seconds, self.name, trace_id=tally.current_trace())

    async def _rest(self, stop: asyncio.Event, deltas: int, seconds: float) -> None:
        # Deltas of many windows cost little more to merge than those of one, so behind they are
        # left time to gather.
        longest = REST_SECONDS_MAX if deltas >= MANY_DELTAS else REST_SECONDS_LIVE_MAX
        await _either(stop, self._finish, seconds=min(REST * seconds, longest))

    async def _wait(self, stop: asyncio.Event) -> None:
        await _either(stop, self._woken, seconds=self.poll_seconds)


async def _either(*events: asyncio.Event, seconds: float) -> None:
    """Waits until one of the events is set, or for so many seconds."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
