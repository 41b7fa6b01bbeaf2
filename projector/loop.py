"""The loop that keeps tables in step with the log: window after window, each in a transaction."""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import asyncpg

from events.crashpoints import crash_point
from events.event import Event
from projector.database import (
    APPLY_SETTINGS,
    Database,
    close_quietly,
    is_data_error,
    is_transient,
    one_line,
)
from projector.errors import CheckpointMoved, Corruption
from projector.fold import Letter, Steps, Window, finished
from projector.formation import Formation
from projector.pace import AdaptiveWindow
from projector.reader import LogReader
from projector.windows import Probed

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 0.5
"""How long, at the log's head, a checkpoint may stay behind events that are of no concern."""

F = TypeVar("F")
"""What a window is folded to."""


@dataclass(frozen=True, slots=True)
class Prepared(Generic[F]):
    """A window, read and folded, ready to be applied."""

    window: Window
    folded: F
    probed: Probed | None


class WindowLoop(ABC, Generic[F]):
    """Applies window after window: while Postgres applies one, reads the next.

    `names` are the projections that it moves, `name` is how it is known, and `collections` what it
    reads.
    """

    def __init__(
        self,
        name: str,
        collections: Sequence[str],
        database: Database,
        reader: LogReader,
        *,
        window: AdaptiveWindow,
        formation: Formation | None,
    ) -> None:
        self.name = name
        self.names: Sequence[str] = (name,)
        self.database = database
        self.reader = reader
        self.pace = window
        self.formation = formation or Formation(window.events_max)
        self.checkpoint = 0
        self._collections = tuple(collections)

    @abstractmethod
    async def _begin(self, connection: asyncpg.Connection, stop: asyncio.Event) -> int:
        """Finds the offset to go on from."""

    @abstractmethod
    def _fold(self, window: Window) -> Steps[tuple[Window, F]]:
        """Folds the longest beginning of a window that can be applied as one."""

    @abstractmethod
    async def _commit(
        self, connection: asyncpg.Connection, window: Window, folded: F, probed: Probed | None
    ) -> int:
        """Applies a window, or a beginning of it; returns the offset that it came to."""

    @abstractmethod
    def _letter(self, event: Event, letter: Letter) -> F:
        """The effect of an event that becomes a dead letter."""

    async def _look_ahead(self, _folded: F) -> Probed | None:
        """Looks up what it can of a window before its turn."""
        return None

    def _meanwhile(self, probed: Probed, before: F) -> None:
        """Tells what was looked up ahead of a window that was applied since."""

    async def _end(self) -> None:
        """Lets go of what it holds."""

    async def run(self, stop: asyncio.Event, until: int | None = None) -> None:
        """Applies windows until told to stop, or until the checkpoint is at `until`, not beyond.

        A window that was begun is finished. Raises what is not for this loop to mend:
        connection trouble, `CheckpointMoved`, `Corruption`.
        """
        connection = await self.database.connect(f"apply {self.name}", **APPLY_SETTINGS)
        following: asyncio.Task[Prepared[F]] | None = None
        try:
            self._moved_to(await self._begin(connection, stop))
            if self.checkpoint > await self.reader.refresh():
                raise Corruption(
                    f"{self.name} is at offset {self.checkpoint}, beyond the log's head "
                    f"{self.reader.head}; was the log restored from an older backup?"
                )
            before: F | None = None
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
                    self._meanwhile(probed, before)
                whole = await self._apply(connection, prepared, probed)
                before = prepared.folded
        finally:
            self.formation.left(self.name)
            if following is not None:
                await _cancelled(following)
            await self._end()
            await close_quietly(connection)

    def _moved_to(self, checkpoint: int) -> None:
        self.checkpoint = checkpoint
        self.formation.at(self.name, checkpoint)

    def _done(self, until: int | None) -> bool:
        return until is not None and self.checkpoint >= until

    def _preparing(self, after: int, until: int | None) -> asyncio.Task[Prepared[F]] | None:
        if until is not None and after >= until:
            return None
        events = self.pace.events if until is None else min(self.pace.events, until - after)
        # Who is to stop somewhere does not wait for more.
        idle_seconds = IDLE_SECONDS if until is None else 0.0
        return asyncio.create_task(self._prepare(after, events, idle_seconds))

    async def _prepare(self, after: int, events_max: int, idle_seconds: float) -> Prepared[F]:
        window = await self.reader.window(after, self._collections, events_max, idle_seconds)
        # In steps: between them the loop goes on with what other connections have answered.
        steps = self._fold(window)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                window, folded = end.value
                break
            await asyncio.sleep(0)
        return Prepared(window, folded, await self._look_ahead(folded))

    async def _apply(
        self, connection: asyncpg.Connection, prepared: Prepared[F], probed: Probed | None
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
        folded: F,
        probed: Probed | None = None,
    ) -> bool:
        try:
            through = await self._commit(connection, window, folded, probed)
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
                await self._apply_parts(connection, half)
            return False
        self._moved_to(through)
        if through == window.through:
            return True
        await self._apply_parts(connection, window.cut(through)[1])
        return False

    async def _apply_parts(self, connection: asyncpg.Connection, rest: Window) -> None:
        """Applies a window in as many transactions as it takes."""
        while rest.after < rest.through:
            part, folded = finished(self._fold(rest))
            await self._apply_or_halve(connection, part, folded)
            crash_point("apply.halved")  # Recovery: windows begin after this part.
            _, rest = rest.cut(part.through)

    async def _isolate(
        self, connection: asyncpg.Connection, window: Window, error: Exception
    ) -> None:
        # The window holds one event, and Postgres refuses what it says.
        event = (*window.commits, *window.removals)[0]
        letter = Letter(event.log_offset, "apply", "refused", one_line(error)[:1000])
        log.warning("%s: event %d is a dead letter: %s", self.name, event.log_offset, letter.error)
        await self._commit(connection, window, self._letter(event, letter), None)
        self._moved_to(window.through)
        crash_point("apply.isolated")  # Recovery: the letter is there, the event is passed.


async def _unless(stop: asyncio.Event, task: asyncio.Task[Prepared[F]]) -> bool:
    """Waits for the task; False when told to stop first."""
    if task.done():
        return True
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(stopped)
    return task.done()


async def _cancelled(task: asyncio.Task[Prepared[F]] | asyncio.Task[bool]) -> None:
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
