"""Events on their way: into the log, from the log into the tables, and all the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from events.event import Batch
from events.generate import lines
from events.sources.generate import GenerateSource
from ops.bench.place import Place, Usage
from projector.aggregate import audit
from projector.commands.up import Run, everything
from projector.daemon import Daemon
from projector.database import Database
from projector.declare import Aggregate
from projector.ingest import LogSink, ingest
from projector.lease import LeaseKeeper


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


def spec(events: int, seed: int) -> str:
    """The generated source that everything measured here comes from."""
    return f"generate:events={events},seed={seed}"


async def batches_of(place: Place, events: int, seed: int) -> list[Batch]:
    """The batches as `ingest` would be handed them."""
    text = spec(events, seed).partition(":")[2]
    source = GenerateSource.parse(text, place.settings.batch_events_max)
    return [batch async for batch in source.batches(None)]


def write_lines(batches: Sequence[Batch], path: Path) -> None:
    """The events as a file of Jetstream lines."""
    with path.open("wb") as file:
        for batch in batches:
            file.writelines(lines(batch.events))


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


async def project(place: Place, database: Database, into: list[Usage]) -> None:
    """One daemon over all projections, until the whole log is in tables and counts."""
    daemon = Daemon(database, place.declarations, place.settings)
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


async def prove(place: Place, database: Database, events: int) -> None:
    """Fails unless every count is that of its rows, and the log holds all events."""
    aggregates = [d for d in place.declarations if isinstance(d, Aggregate)]
    connection = await database.connect("bench")
    try:
        found = await audit(connection, aggregates, place.settings.schema)
        head = await connection.fetchval("SELECT head FROM projector.log_head")
    finally:
        await connection.close()
    if found or head != events:
        raise AssertionError(f"not exact: head {head}, {len(found)} differences, first {found[:3]}")
