"""Drives the engine step by step, and breaks it between any two steps."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from events.event import Batch, Event
from events.log import Appender, read_head
from projector.aggregate import Merger, audit
from projector.apply import TableWriter
from projector.database import APPLY_SETTINGS, Database
from projector.declare import Aggregate, Fed, Projection
from projector.derived import Refresher
from projector.errors import CheckpointMoved
from projector.fold import Folded, Folder, Window
from projector.loop import Prepared
from projector.statements import live
from projector.windows import Step
from tests.support.engine import AGGREGATES, DECLARATIONS, KEYS, create, order, rows_of, table_names
from tests.support.logs import read_events

PROJECTIONS = [d for d in DECLARATIONS if isinstance(d, Projection)]
CLAIMING = [p for p in PROJECTIONS if p.table.unique]

HIDDEN = [
    *(f'projector."version_{p.name}"' for p in PROJECTIONS),
    *(f'projector."duplicate_{p.table.name}"' for p in CLAIMING),
    *(f'projector."{c.name}"' for p in PROJECTIONS for c in p.every_child if c.hidden),
]
"""The engine's own tables beside those of the projections."""

EMPTIED = [
    "projector.event_log",
    "projector.source_cursor",
    "projector.outbox",
    "projector.dead_letter",
    "projector.lease",
    *HIDDEN,
    *(f'bsky."{p.table.name}"' for p in PROJECTIONS),
    *(f'bsky."{c.name}"' for p in PROJECTIONS for c in p.children if not c.hidden),
    *(f"bsky.{name}" for name in KEYS),
    "bsky.duplicate_record",
]
# DELETE, not TRUNCATE: of tables with a few rows it is ten times faster.
RESET = ";".join(
    [
        *(f"DELETE FROM {table}" for table in EMPTIED),
        "UPDATE projector.log_head SET head = 0",
        "UPDATE projector.checkpoint SET log_offset = 0, events = 0",
    ]
)
LETTERS = "SELECT projection, log_offset FROM projector.dead_letter WHERE projection IS NOT NULL"
CHECKPOINT = "SELECT log_offset FROM projector.checkpoint WHERE projection = $1"
BROKEN = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError,
          asyncpg.InternalClientError, OSError)  # fmt: skip
"""What a statement raises whose connection was cut."""


async def reset(connection: asyncpg.Connection) -> None:
    """Empties every table, as if nothing had ever come."""
    await connection.execute(RESET)


async def until(condition: Callable[[], Awaitable[Any]], *, seconds: float = 20.0) -> Any:
    """Waits for a state of the database: asks until the answer is true; returns the answer."""
    async with asyncio.timeout(seconds):
        while not (answer := await condition()):
            await asyncio.sleep(0.01)
    return answer


async def everything_of(connection: asyncpg.Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All columns of all rows of the tables of projections and of the shelves of duplicates."""
    tables = [*EMPTIED[EMPTIED.index('bsky."post"') :],
              *(t for t in HIDDEN if "duplicate_" in t)]  # fmt: skip
    return {
        table: [
            tuple(row) for row in await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2")
        ]
        for table in tables
    }


class Fragile(asyncpg.Connection):
    """A connection that can be made to break at its n-th statement from now.

    `killer` ends a backend, by its process id, and returns when it is gone. `survive` says whether
    the statement still reaches the server: a COMMIT that does is done, though nobody is told.
    """

    killer: Callable[[int], Awaitable[None]] | None = None
    statements_left: int | None = None
    survive = False

    async def _guarded(self, statement: Callable[[], Awaitable[Any]]) -> Any:
        if self.statements_left is None:
            return await statement()
        self.statements_left -= 1
        if self.statements_left >= 0:
            return await statement()
        self.statements_left = None
        assert self.killer is not None
        if self.survive:
            await statement()
        await self.killer(self.get_server_pid())
        if self.survive:
            raise asyncpg.ConnectionDoesNotExistError("the connection broke after the statement")
        return await statement()

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        return await self._guarded(lambda: super(Fragile, self).execute(*args, **kwargs))

    async def executemany(self, *args: Any, **kwargs: Any) -> Any:
        return await self._guarded(lambda: super(Fragile, self).executemany(*args, **kwargs))

    async def fetch(self, *args: Any, **kwargs: Any) -> Any:
        return await self._guarded(lambda: super(Fragile, self).fetch(*args, **kwargs))

    async def fetchval(self, *args: Any, **kwargs: Any) -> Any:
        return await self._guarded(lambda: super(Fragile, self).fetchval(*args, **kwargs))

    async def fetchrow(self, *args: Any, **kwargs: Any) -> Any:
        return await self._guarded(lambda: super(Fragile, self).fetchrow(*args, **kwargs))

    async def copy_records_to_table(self, *args: Any, **kwargs: Any) -> Any:
        return await self._guarded(
            lambda: super(Fragile, self).copy_records_to_table(*args, **kwargs)
        )


async def fragile(database: Database, **settings: str) -> Fragile:
    """A fragile connection."""
    connection: Fragile = await asyncpg.connect(
        database.url, connection_class=Fragile, server_settings=settings or APPLY_SETTINGS
    )
    return connection


class Hand:
    """One projector, moved by hand: each step is one transaction on its own connection."""

    def __init__(self, stage: Stage, name: str) -> None:
        self.stage = stage
        self.name = name
        self.connection: Fragile | None = None
        self.checkpoint: int | None = None

    async def connected(self) -> Fragile:
        if self.connection is None or self.connection.is_closed():
            self.connection = await fragile(self.stage.database)
            self.connection.killer = self.stage.kill
            self.checkpoint = None
        return self.connection

    async def step(self, events: int) -> bool:
        """Does the next step; False when there was nothing to do."""
        raise NotImplementedError

    async def attempt(self, events: int) -> bool:
        """Does the next step, unless a rival was there first; whether it did."""
        try:
            return await self.step(events)
        except CheckpointMoved:
            self.checkpoint = None
            return False

    async def crash(self, events: int, statements: int, *, survive: bool) -> bool:
        """The same, but the connection breaks at a statement; whether it got that far."""
        connection = await self.connected()
        connection.statements_left, connection.survive = statements, survive
        try:
            await self.attempt(events)
        except BROKEN:
            connection.terminate()
            self.connection = None
            return True
        connection.statements_left = None
        return False


class TableHand(Hand):
    """Applies windows of one projection; looks two of three up ahead, as a projector does that
    is far behind: before the window that comes first is applied."""

    def __init__(self, stage: Stage, projection: Projection) -> None:
        super().__init__(stage, projection.name)
        self.projection = projection
        self.writer = TableWriter(projection, live(projection, "bsky"))
        self.folder = Folder(projection)
        self.ahead: Prepared[Folded] | None = None
        self.steps = 0

    async def step(self, events: int) -> bool:
        connection = await self.connected()
        if self.checkpoint is None:
            self.checkpoint = await connection.fetchval(CHECKPOINT, self.name)
            self.ahead = None
        prepared = self.ahead or self.prepared(self.checkpoint, events)
        if prepared is None:
            return False
        self.ahead = await self.looked_up(prepared.window.through, events)
        window, folded = prepared.window, prepared.folded
        step = Step(window.after, window.through, window.events)
        await self.writer.apply(connection, step, folded, prepared.probed)
        self.checkpoint = window.through
        if self.ahead is not None and self.ahead.probed is not None:
            self.writer.meanwhile(self.ahead.probed, folded)
        return True

    def prepared(self, after: int, events: int) -> Prepared[Folded] | None:
        window = self.stage.window(after, events, self.projection)
        return Prepared(*self.folder.fold_beginning(window), None) if window else None

    async def looked_up(self, after: int, events: int) -> Prepared[Folded] | None:
        self.steps += 1
        prepared = self.prepared(after, events)
        if prepared is None or not self.steps % 3:
            return None
        probed = await self.writer.probe(self.stage.prober, prepared.folded)
        return replace(prepared, probed=probed)


class AggregateHand(Hand):
    """Merges deltas of one aggregate, or refreshes one derived table."""

    def __init__(self, stage: Stage, aggregate: Fed, outbox_rows_max: int = 2) -> None:
        super().__init__(stage, aggregate.name)
        home = live(aggregate, "bsky")
        self.merger = (
            Merger(aggregate, home, outbox_rows_max)
            if isinstance(aggregate, Aggregate)
            else Refresher(aggregate, home, outbox_rows_max)
        )

    async def step(self, events: int) -> bool:
        merged = await self.merger.merge(await self.connected())
        return merged.rows > 0


class Stage:
    """A database with all projectors in hand, used for one history after the other."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.log: list[Event] = []

    async def open(self) -> Stage:
        """Makes the schema and the connections."""
        await create(self.database)
        await self.connect()
        return self

    async def connect(self) -> None:
        """Makes the connections, and the hands."""
        self.admin = await self.database.connect("test admin")
        self.auditor = await self.database.connect("test auditor")
        self.prober = await self.database.connect("test probe", **APPLY_SETTINGS)
        self.hands = self.new_hands()
        self.rivals = self.new_hands()

    def new_hands(self) -> list[Hand]:
        """A projector each for all projections and aggregates."""
        return [*(TableHand(self, p) for p in PROJECTIONS),
                *(AggregateHand(self, a) for a in AGGREGATES)]  # fmt: skip

    async def close(self) -> None:
        """Lets go of all connections."""
        hands = (*self.hands, *self.rivals)
        for connection in (
            self.admin,
            self.auditor,
            self.prober,
            *(hand.connection for hand in hands),
        ):
            if connection is not None:
                connection.terminate()

    async def kill(self, pid: int) -> None:
        """Ends a backend and waits until it is gone."""
        assert await self.admin.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)

    async def begin(self, events: Sequence[Event]) -> None:
        """Empties the database and puts the events into the log."""
        await reset(self.admin)
        await self.begun(events)

    async def begun(self, events: Sequence[Event]) -> None:
        """Puts the events into the log of the database, which was emptied."""
        self.log = []
        for hand in (*self.hands, *self.rivals):
            hand.checkpoint = None
        await self.append(events)

    async def append(self, events: Sequence[Event]) -> None:
        """Puts events into the log, repeats as well, and reads the log again."""
        appender = Appender(self.admin, "test", partition_events=100_000)
        await appender.open(fill=False)
        if events:
            await appender.append(Batch(cursor=events[-1].source_cursor, events=list(events)))
        self.log = await read_events(self.admin, 0, await read_head(self.admin))

    def window(self, after: int, events: int, projection: Projection) -> Window | None:
        """The next window of a projection, of so many offsets; None at the head."""
        part = self.log[after : after + events]
        if not part:
            return None
        commits = [e for e in part if e.collection in projection.collections]
        removals = [e for e in part if e.removes_account]
        return Window(after, part[-1].log_offset, commits, removals)

    def reach(self, after: int, projection: Projection) -> int:
        """How many offsets a window spans that holds just the next event of concern."""
        rest = self.log[after:]
        for span, event in enumerate(rest, 1):
            if event.collection in projection.collections or event.removes_account:
                return span
        return len(rest)

    async def finish_event_by_event(self) -> None:
        """Lets every projector catch up, with one event of concern in each window."""
        for hand in self.hands:
            hand.checkpoint = 0
            span = 1
            while span and await hand.step(span):
                if isinstance(hand, TableHand):
                    span = self.reach(hand.checkpoint, hand.projection)

    async def finish(self, windows: Iterable[int] = ()) -> None:
        """Lets every projector catch up, with windows of these sizes, then of all there is."""
        sizes = iter(windows)
        for hand in self.hands:
            hand.checkpoint = None
            steps = 0
            while await hand.step(next(sizes, len(self.log) + 1)):
                steps += 1
                # A step does something, and there is not more to do than this.
                assert steps <= 100 + 10 * len(self.log)

    async def assert_counts_are_exact(self) -> None:
        """Invariant 7, in a snapshot of another connection."""
        assert await audit(self.auditor, AGGREGATES, "bsky") == []

    async def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The tables of projections, as `tests.support.engine.tables_of` has them."""
        found = {name: await rows_of(self.auditor, name) for name in table_names(DECLARATIONS)}
        return {name: sorted(rows, key=order) for name, rows in found.items()}

    async def everything(self) -> dict[str, list[tuple[Any, ...]]]:
        """All columns of all rows of all tables, and of the shelves of duplicates."""
        return await everything_of(self.auditor)

    async def letters(self) -> set[tuple[str, int]]:
        """The dead letters, as the model has them."""
        return {tuple(row) for row in await self.admin.fetch(LETTERS)}
