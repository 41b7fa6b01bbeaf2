"""Events on their way: into the log, from the log into the tables, and all the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from events.event import Batch
from ops.bench.place import Place, Usage
from ops.bench.processes import eventually
from projector.aggregate import audit
from projector.commands.up import Run, caught_up, everything
from projector.daemon import Daemon
from projector.database import Database
from projector.declare import Aggregate
from projector.ingest import LogSink, ingest
from projector.lease import LeaseKeeper

HEAD: Final = "SELECT head FROM projector.log_head"


class Prepared:
    """A source whose batches were made beforehand."""

    name = "prepared"
    rewinds = False

    def __init__(self, batches: Sequence[Batch]) -> None:
        self._batches = batches

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        """Yields all of them."""
        assert cursor is None
        for batch in self._batches:
            yield batch

    async def committed(self, cursor: str) -> None:
        """Nothing waits for it."""


async def append(
    place: Place, database: Database, batches: Sequence[Batch], into: list[Usage]
) -> None:
    """Appends to the log with the sink that `ingest` uses, each batch durable before the next."""
    keeper = LeaseKeeper(database)
    source = Prepared(batches)
    sink = LogSink(
        database,
        source,
        keeper,
        recent_events=place.settings.recent_events,
        partition_events=place.settings.partition_events,
    )
    try:
        with place.metered(into):
            await ingest(source, sink, asyncio.Event())
    finally:
        await keeper.close()


async def project(
    place: Place,
    database: Database,
    into: list[Usage],
    only: Sequence[str] = (),
    *,
    prepare: Callable[[Daemon], None] = lambda _: None,
) -> None:
    """One daemon over all projections, or those named, until the whole log is in tables and
    counts; `prepare` is handed it before it runs."""
    daemon = Daemon(database, place.declarations, place.settings, only=only)
    prepare(daemon)
    with place.metered(into):
        await daemon.run(asyncio.Event(), until_caught_up=True)


async def end_to_end(
    place: Place, database: Database, source: str, folder: Path, into: list[Usage]
) -> None:
    """What `projector up SOURCE --until-caught-up` does once its servers and schema are there."""
    run = Run(database, source, place.settings, folder, False, True, True)
    with place.metered(into):
        finished = await everything(run, asyncio.Event())
    assert finished


async def end_to_end_live(
    place: Place,
    database: Database,
    source: str,
    events: int,
    into: list[Usage],
    *,
    redis: int | None = None,
) -> None:
    """The same with a source that never ends: until `events` events are in tables and counts."""
    async with running(place, database, source) as going:
        with place.metered(into, redis):
            await arrived(place, database, events, going, seconds_max=120 + events / 500)


@asynccontextmanager
async def running(
    place: Place, database: Database, source: str
) -> AsyncIterator[asyncio.Task[bool]]:
    """What `projector up SOURCE` does, for as long as the body; stopped softly at its end."""
    stop = asyncio.Event()
    run = Run(database, source, place.settings, Path(), False, False, True)
    going = asyncio.create_task(everything(run, stop), name="up")
    try:
        yield going
        stop.set()
        async with asyncio.timeout(place.settings.stop_seconds):
            await going
    finally:
        going.cancel()
        await asyncio.gather(going, return_exceptions=True)


async def arrived(
    place: Place,
    database: Database,
    events: int,
    going: asyncio.Task[bool],
    *,
    seconds_max: float,
) -> None:
    """Waits until `events` events are in tables and counts; fails where `going` does, or late."""

    async def all_counted() -> None:
        connection = await database.connect("bench")
        try:
            assert await eventually(lambda: _has(connection, events), seconds_max)
        finally:
            await connection.close()
        await caught_up(database, place.declarations)

    waiting = asyncio.create_task(all_counted())
    try:
        await asyncio.wait(
            (waiting, going), timeout=seconds_max, return_when=asyncio.FIRST_COMPLETED
        )
        if not waiting.done():
            if going.done():
                going.result()
            raise TimeoutError(f"{events:,} events were not there after {seconds_max:.0f} s")
        waiting.result()
    finally:
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


async def _has(connection: asyncpg.Connection, events: int) -> bool:
    return int(await connection.fetchval(HEAD)) >= events


async def prove(place: Place, database: Database, events: int) -> None:
    """Fails unless every count is that of its rows, and the log holds all events."""
    aggregates = [d for d in place.declarations if isinstance(d, Aggregate)]
    connection = await database.connect("bench")
    try:
        found = await audit(connection, aggregates, place.settings.schema)
        head = await connection.fetchval(HEAD)
    finally:
        await connection.close()
    if found or head != events:
        raise AssertionError(f"not exact: head {head}, {len(found)} differences, first {found[:3]}")
