"""Projectors: the loops that keep one table, or one aggregate, in step with the log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from projector import tally
from projector.account import AccountWriter, tools_of
from projector.aggregate import Merged, Merger
from projector.apply import Probed, TableWriter
from projector.committing import Applied, Step, read_checkpoint
from projector.database import (
    APPLY_SETTINGS,
    Database,
    close_quietly,
    is_data_error,
    is_transient,
    one_line,
)
from projector.declare import AccountProjection, Aggregate, Fed, Projection, Row
from projector.derived import Homes, Refresher
from projector.errors import CheckpointMoved, Corruption
from projector.fold import Folded, Letter, Window
from projector.formation import Formation
from projector.home import Home
from projector.pace import AdaptiveWindow, Rate
from projector.reader import LogReader
from projector.telemetry import apply_span, is_recorded, merge_span
from projector.window_traces import keep_merge, keep_window

log = logging.getLogger(__name__)

REST: Final = 8.0
"""How long an aggregate rests after a merge, in times of what the merge took."""
REST_SECONDS_MAX: Final = 1.0
REST_SECONDS_LIVE_MAX: Final = 0.02
"""The longest rest after a merge of fewer than `MANY_DELTAS`, as they are at the log's tail."""
MANY_DELTAS: Final = 2_000

IDLE_SECONDS: Final = 0.5
"""How long, at the log's head, a checkpoint may stay behind events that are of no concern."""
PROBED_ROWS_MIN: Final = 1_000
"""Windows of at least so many fresh rows are looked up ahead, on a connection of their own."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A window, read and folded, ready to be applied."""

    window: Window
    folded: Folded
    probed: Probed | None


class TableProjector:
    """Applies one projection, window after window: while Postgres applies one, reads the next.

    `home` is where its tables are.
    """

    def __init__(
        self,
        projection: Projection | AccountProjection,
        database: Database,
        reader: LogReader,
        *,
        home: Home,
        window: AdaptiveWindow,
        formation: Formation | None = None,
        on_deltas: Callable[[], None] = lambda: None,
        on_rows: Callable[[Sequence[Row]], None] = lambda _: None,
    ) -> None:
        self.name = home.name
        self.projection = projection
        self.database = database
        self.reader = reader
        self.writer, self._folder = tools_of(projection, home)
        self.pace = window
        self.formation = formation or Formation(window.events_max)
        self.on_deltas = on_deltas
        self.on_rows = on_rows
        self.checkpoint = 0
        self.rate = Rate()
        self._probing: asyncpg.Connection | None = None

    async def run(self, stop: asyncio.Event, until: int | None = None) -> None:
        """Applies windows until told to stop, or until the checkpoint is at `until`, not beyond.

        A window that was begun is finished. Raises what is not for this loop to mend:
        connection trouble, `CheckpointMoved`, `Corruption`.
        """
        connection = await self.database.connect(f"apply {self.name}", **APPLY_SETTINGS)
        following: asyncio.Task[Prepared] | None = None
        try:
            self._moved_to(await read_checkpoint(connection, self.projection, self.name))
            if self.checkpoint > await self.reader.refresh():
                raise Corruption(
                    f"{self.name} is at offset {self.checkpoint}, beyond the log's head "
                    f"{self.reader.head}; was the log restored from an older backup?"
                )
            before: Folded | None = None
            whole = True
            while not stop.is_set() and not self._done(until):
                following = following or self._preparing(self.checkpoint, until)
                if following is None or not await _unless(stop, following):
                    break
                prepared = following.result()
                following = self._preparing(prepared.window.through, until)
                await self.formation.hold(self.name, prepared.window.through, self.reader.head)
                # A window that was halved may have left what its own fold does not tell.
                probed = prepared.probed if whole else None
                if probed is not None and before is not None:
                    _rows(self.writer).meanwhile(probed, before)
                whole = await self._apply(connection, prepared, probed)
                before = prepared.folded
        finally:
            self.formation.left(self.name)
            if following is not None:
                await _cancelled(following)
            await close_quietly(self._probing)
            self._probing = None
            await close_quietly(connection)

    def _moved_to(self, checkpoint: int) -> None:
        self.checkpoint = checkpoint
        self.formation.at(self.name, checkpoint)

    def _done(self, until: int | None) -> bool:
        return until is not None and self.checkpoint >= until

    def _preparing(self, after: int, until: int | None) -> asyncio.Task[Prepared] | None:
        if until is not None and after >= until:
            return None
        events = self.pace.events if until is None else min(self.pace.events, until - after)
        # Who is to stop somewhere does not wait for more.
        idle_seconds = IDLE_SECONDS if until is None else 0.0
        return asyncio.create_task(self._prepare(after, events, idle_seconds))

    async def _prepare(self, after: int, events_max: int, idle_seconds: float) -> Prepared:
        collections = self.projection.collections
        window = await self.reader.window(after, collections, events_max, idle_seconds)
        # In steps: between them the loop goes on with what other connections have answered.
        steps = self._folder.beginning_steps(window)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                window, folded = end.value
                break
            await asyncio.sleep(0)
        many = len(folded.fresh) >= PROBED_ROWS_MIN
        return Prepared(window, folded, await self._probe(folded) if many else None)

    async def _probe(self, folded: Folded) -> Probed | None:
        # Beside the window before, so that Postgres writes one while it looks up the next. What
        # fails here is met again, and dealt with, when the window is applied.
        try:
            if self._probing is None or self._probing.is_closed():
                self._probing = await self.database.connect(f"probe {self.name}", **APPLY_SETTINGS)
            return await _rows(self.writer).probe(self._probing, folded)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, ValueError) as error:
            log.debug("%s: not probed ahead: %s", self.name, one_line(error))
            return None

    async def _apply(
        self, connection: asyncpg.Connection, prepared: Prepared, probed: Probed | None
    ) -> bool:
        """Applies a window; whether that was done in one transaction."""
        begun = time.monotonic()
        whole = await self._apply_or_halve(connection, prepared.window, prepared.folded, probed)
        self.pace.took(time.monotonic() - begun)
        return whole

    async def _apply_or_halve(
        self,
        connection: asyncpg.Connection,
        window: Window,
        folded: Folded,
        probed: Probed | None = None,
    ) -> bool:
        try:
            await self._commit(connection, window, folded, probed)
            return True
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not is_data_error(error):
                raise
            halves = window.halves()
            if halves is None:
                await self._isolate(connection, window, error)
                return False
            log.info("%s: %s; halving the window", self.name, one_line(error))
            crash_point("apply.halving")  # Recovery: the window fails and is halved again.
            for half in halves:
                rest = half
                while rest.after < rest.through:
                    part, folded = self._folder.fold_beginning(rest)
                    await self._apply_or_halve(connection, part, folded)
                    crash_point("apply.halved")  # Recovery: windows begin after this part.
                    _, rest = rest.cut(part.through)
            return False

    async def _isolate(
        self, connection: asyncpg.Connection, window: Window, error: Exception
    ) -> None:
        # The window holds one event, and Postgres refuses what it says.
        event = (*window.commits, *window.removals)[0]
        letter = Letter(event.log_offset, "apply", "refused", one_line(error)[:1000])
        log.warning("%s: event %d is a dead letter: %s", self.name, event.log_offset, letter.error)
        await self._commit(connection, window, Folded(letters=[letter]))
        crash_point("apply.isolated")  # Recovery: the letter is there, the event is passed.

    async def _commit(
        self,
        connection: asyncpg.Connection,
        window: Window,
        folded: Folded,
        probed: Probed | None = None,
    ) -> None:
        step = Step(window.after, window.through, window.events, self.rate.add(window.events))
        appends = await self.reader.appends(window) if is_recorded() else ()
        begun = time.monotonic()
        with apply_span(self.name, window, appends) as span:
            traceparent = span.traceparent()
            if traceparent is not None:
                await keep_window(connection, self.name, window, traceparent)
            if isinstance(self.writer, AccountWriter):
                applied = await self.writer.apply(connection, step, folded)
            else:
                applied = await self.writer.apply(connection, step, folded, probed)
            self._count(window, folded, applied, time.monotonic() - begun)
            span.did(
                rows_inserted=applied.inserted,
                rows_deleted=applied.deleted,
                deltas=applied.deltas,
                dead_letters=len(folded.letters),
            )
        self._moved_to(window.through)
        if applied.inserted or applied.deleted:
            self.on_deltas()
            self.on_rows(folded.fresh)

    def _count(self, window: Window, folded: Folded, applied: Applied, seconds: float) -> None:
        name = self.name
        tally.WINDOWS.add(1, name)
        tally.WINDOW_EVENTS.add(window.events, name)
        tally.ROWS.add(applied.inserted, name, "inserted")
        tally.ROWS.add(applied.deleted, name, "deleted")
        tally.DELTAS.add(applied.deltas, name)
        tally.WINDOW_SECONDS.add(seconds, name, trace_id=tally.current_trace())
        for letter in folded.letters:
            tally.LETTERS_MADE.add(1, name, letter.reason)


def _rows(writer: TableWriter | AccountWriter) -> TableWriter:
    """The writer of a projection whose rows are looked up ahead."""
    assert isinstance(writer, TableWriter)
    return writer


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
        self.merger = (
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
            await _cancelled(task)


async def _unless(stop: asyncio.Event, task: asyncio.Task[Prepared]) -> bool:
    """Waits for the task; False when told to stop first."""
    if task.done():
        return True
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(stopped)
    return task.done()


async def _cancelled(
    task: asyncio.Task[object] | asyncio.Task[Prepared] | asyncio.Task[bool],
) -> None:
    if not task.done():
        task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        if (current := asyncio.current_task()) is not None and current.cancelling():
            raise
    except Exception as error:  # Not lost: the next attempt meets the same trouble and says so.
        if not is_transient(error) and not isinstance(error, CheckpointMoved):
            raise
