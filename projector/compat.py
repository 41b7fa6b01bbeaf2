"""Event by event: the loop that keeps the tables of an `EventByEvent` in step with the log.

Windows save commits and nothing else: within one, each effect is done or undone by itself, so that
the tables come out the same whatever the windows' sizes.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Final

import asyncpg

from events.event import Event
from events.history import WholeLog
from projector import tally
from projector.apply import put_letters
from projector.committing import read_checkpoint
from projector.database import (
    APPLY_SETTINGS,
    Database,
    close_quietly,
    is_data_error,
    one_line,
)
from projector.effects import Effect, EventByEvent, Refused
from projector.errors import CheckpointMoved, Corruption
from projector.fold import BAD_RECORD, Letter, invalid
from projector.home import quoted
from projector.pace import AdaptiveWindow, Rate
from projector.reader import LogReader
from projector.schema import anew
from projector.statements import MOVE_CHECKPOINT

log = logging.getLogger(__name__)

WINDOW_EVENTS_MAX: Final = 500
"""Most events in one transaction: each is several statements."""

MARK: Final = "SAVEPOINT effect"
MARK_AGAIN: Final = "RELEASE SAVEPOINT effect; SAVEPOINT effect"
UNDO: Final = "ROLLBACK TO SAVEPOINT effect"


class EventProjector:
    """Applies one `EventByEvent`: each event by itself, a window of them in a transaction.

    One connection reads the log and writes the tables, by turns.
    """

    def __init__(
        self,
        declaration: EventByEvent,
        database: Database,
        reader: LogReader,
        *,
        schema: str,
        window: AdaptiveWindow,
    ) -> None:
        self.name = declaration.name
        self.names = (declaration.name,)
        self.declaration = declaration
        self.database = database
        self.reader = reader
        self.schema = schema
        self.pace = window
        self.checkpoint = 0
        self.rate = Rate()
        self._log = WholeLog()

    async def run(self, stop: asyncio.Event, until: int | None = None) -> None:
        """Applies windows until told to stop, or until the checkpoint is at `until`, not beyond.

        Raises what is not for this loop to mend, as `TableProjector.run` does.
        """
        connection = await self.connected()
        try:
            self.checkpoint = await read_checkpoint(connection, self.declaration)
            if self.checkpoint > await self.reader.refresh():
                raise Corruption(
                    f"{self.name} is at offset {self.checkpoint}, beyond the log's head "
                    f"{self.reader.head}; was the log restored from an older backup?"
                )
            while not stop.is_set() and (until is None or self.checkpoint < until):
                if await self._head_beyond(stop):
                    await self.step(connection, until)
        finally:
            await close_quietly(connection)
            await self._log.close()

    async def connected(self) -> asyncpg.Connection:
        """A connection on which names without a schema are those of the tables."""
        role = f"apply {self.name}"
        return await self.database.connect(role, **APPLY_SETTINGS, search_path=quoted(self.schema))

    async def _head_beyond(self, stop: asyncio.Event) -> bool:
        """Waits until there is an event to apply; False when told to stop first."""
        waiting = [
            asyncio.create_task(self.reader.wait_beyond(self.checkpoint)),
            asyncio.create_task(stop.wait()),
        ]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
        return not stop.is_set()

    async def step(self, connection: asyncpg.Connection, until: int | None = None) -> None:
        """Applies the next window up to the log's head; committed when it returns."""
        begun = time.monotonic()
        ends = (self.reader.head, self.checkpoint + self.pace.events, until)
        through = min(end for end in ends if end is not None)
        events = await self._log.read(connection, self.checkpoint, through)
        letters = await self._apply(connection, events, through)
        self.checkpoint = through
        seconds = time.monotonic() - begun
        self.pace.took(seconds)
        tally.WINDOWS.add(1, self.name)
        tally.WINDOW_EVENTS.add(len(events), self.name)
        tally.WINDOW_SECONDS.add(seconds, self.name, trace_id=tally.current_trace())
        for letter in letters:
            tally.LETTERS_MADE.add(1, self.name, letter.reason)

    async def _apply(
        self, connection: asyncpg.Connection, events: Sequence[Event], through: int
    ) -> list[Letter]:
        """One transaction. Raises `CheckpointMoved` where another was here (invariant 2)."""
        letters: list[Letter] = []
        async with connection.transaction():
            name, version = self.name, self.declaration.version
            step = (self.checkpoint, through, len(events), self.rate.add(len(events)))
            if await connection.fetchval(MOVE_CHECKPOINT, name, version, *step) is None:
                raise CheckpointMoved(name)
            await connection.execute(MARK)
            for event in events:
                for effect in self.declaration.apply(event):
                    letter = await self._play(connection, event, effect)
                    letters += [letter] if letter else []
            if letters:
                await put_letters(connection, name, letters)
        return letters

    async def _play(
        self, connection: asyncpg.Connection, event: Event, effect: Effect
    ) -> Letter | None:
        """Does one effect; where it is refused, undoes it and says why."""
        marked = False
        try:
            statement = next(effect)
            await connection.execute(MARK_AGAIN)
            marked = True
            while True:
                rows = await connection.fetch(statement.text, *statement.values)
                statement = effect.send([tuple(row) for row in rows])
        except StopIteration:
            return None
        except BAD_RECORD as error:
            letter = invalid(event, error)
        except Refused as error:
            letter = _refused(event, error)
        except asyncpg.UniqueViolationError as error:
            raise Corruption(
                f"{self.name}: {error.message}; its tables contradict each other; {anew(self.name)}"
            ) from error
        except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if not is_data_error(error):
                raise
            letter = _refused(event, error)
        if marked:
            await connection.execute(UNDO)
        return letter


def _refused(event: Event, error: Exception) -> Letter:
    return Letter(event.log_offset, "apply", "refused", one_line(error)[:1000])
