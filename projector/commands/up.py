"""`up`: everything in one process, on servers of its own."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.live import Live

from events.event import Source
from projector import schema
from projector.commands import resolve
from projector.commands.flow import append_source, into_log
from projector.daemon import Daemon, stop_on_signals
from projector.database import Database, masked
from projector.declare import Kept
from projector.environment import (
    COMMON,
    Common,
    accompanied,
    declared_of_any_kind,
    held_alone,
    opened,
    say_what_shows,
    settings,
)
from projector.ingest import ingest
from projector.listen import listening, observed
from projector.live import Picture
from projector.notify import supervised
from projector.output import console
from projector.settings import Settings
from projector.sources import StreamTarget, addressed, is_stream, source_of
from projector.status import read_status
from projector.tasks import first_failure
from projector.telemetry import exported

log = logging.getLogger(__name__)

SHOW_SECONDS = 0.5
LOG_SECONDS = 5.0
POLL_SECONDS = 0.1
STREAM = "firehose_live"
CURSORS = "SELECT coalesce(array_agg(cursor), '{}') FROM projector.source_cursor"


@dataclass(frozen=True, slots=True)
class Run:
    """What one `up` works with."""

    database: Database
    source: str
    settings: Settings
    folder: Path
    redis_buffer: bool
    until_caught_up: bool
    json: bool
    streams: list[str] = field(default_factory=list)


async def up(
    source: str = "jetstream",
    /,
    *,
    redis_buffer: Annotated[bool, Parameter(negative="")] = False,
    until_caught_up: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Do everything in one process: servers, schema, ingest, projections, a live picture.

    Without --database it runs a PostgreSQL of its own under --data-dir. Ctrl-C drains and stops;
    started again it continues where it was.

    Parameters
    ----------
    source
        As for `ingest`.
    redis_buffer
        Put a Redis of its own between source and log.
    until_caught_up
        End when the source has ended and all of it is projected.
    """
    async with started(common, source, redis_buffer, until_caught_up) as (run, stop):
        await everything(run, stop)
    if not common.json:
        console.print("Stopped; the same command continues where it was.")


@asynccontextmanager
async def started(
    common: Common, source: str, redis_buffer: bool, until_caught_up: bool
) -> AsyncIterator[tuple[Run, asyncio.Event]]:
    """Servers, schema, traces and signals, for as long as one `up` lasts."""
    chosen = settings()
    source = addressed(source, chosen)
    source_of(source, chosen)  # A text that names no source is refused before anything starts.
    listening(chosen)
    say_what_shows()
    with held_alone(common.folder / "up.lock", "projector up"):
        async with opened(common, chosen, create=True) as database:
            await _prepare(database, chosen)
            run = Run(database, source, chosen, common.folder, redis_buffer, until_caught_up,
                      common.json)  # fmt: skip
            _say_where(run)
            with exported(), stop_on_signals(chosen.stop_seconds) as stop:
                yield run, stop


async def everything(run: Run, stop: asyncio.Event) -> bool:
    """Ingest and projections side by side until `stop`; with `until_caught_up`, until the source
    has ended and all of it is in tables and counts: then, and only then, it returns True."""
    finished = False
    declarations = declared_of_any_kind()
    daemon = Daemon(run.database, declarations, run.settings)
    async with (
        observed(
            run.settings, run.database, declarations, streams=run.streams, movers=daemon.movers
        ),
        supervised(run.settings, stop, lambda: daemon.sentence, is_ready=lambda: daemon.is_ready),
        entrance(run, stop) as feeding,
        watched(run, declarations),
    ):
        projecting = asyncio.create_task(daemon.run(stop), name="projections")
        beside = [projecting, *resolving(run, stop)]
        try:
            await first_failure(feeding, beside)
            if run.until_caught_up and not stop.is_set():
                finishing = asyncio.create_task(caught_up(run.database, declarations))
                await first_failure([finishing], beside)
                finished = not stop.is_set()
                stop.set()
            await projecting
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
    return finished


@asynccontextmanager
async def entrance(run: Run, stop: asyncio.Event) -> AsyncIterator[list[asyncio.Task[None]]]:
    """What brings events into the log, as tasks: straight from the source, or through Redis."""
    database, chosen = run.database, run.settings
    async with AsyncExitStack() as stack:
        if is_stream(run.source):
            run.streams.append(run.source)
        if not run.redis_buffer:
            work = [_task(into_log(database, run.source, chosen, stop), "ingest")]
        else:
            from projector.embedded_redis import EmbeddedRedis

            redis = await stack.enter_async_context(EmbeddedRedis(run.folder / "redis"))
            stream = f"{redis.url}&stream={STREAM}"
            run.streams.append(stream)
            source = source_of(run.source, chosen)
            halt = asyncio.Event()
            work = [
                _task(_until_drained(run, source, stream, stop, halt), "feed"),
                _task(into_log(database, stream, chosen, halt), "ingest"),
                _task(_relay(stop, halt), "stop"),
            ]
        try:
            yield work
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)


def resolving(run: Run, stop: asyncio.Event) -> list[asyncio.Task[None]]:
    """What finds out handles, where that is wanted; it ends with `stop`."""
    if not run.settings.resolve:
        return []
    source = resolve.source(run.database, run.settings)
    return [_task(append_source(run.database, source, run.settings, stop), "resolve")]


async def _until_drained(
    run: Run, source: Source, stream: str, stop: asyncio.Event, halt: asyncio.Event
) -> None:
    """Fills the stream from the source; when that has ended, waits until the log has it all."""
    target = StreamTarget(stream, source, run.settings)
    await ingest(source, target, stop)
    last = await target.last_entry()
    connection = await run.database.connect("drain")
    try:
        while not stop.is_set():
            cursors = await connection.fetchval(CURSORS)
            if last is None or last in cursors:
                break
            await asyncio.sleep(POLL_SECONDS)
    finally:
        halt.set()
        await connection.close()


async def _relay(stop: asyncio.Event, halt: asyncio.Event) -> None:
    waiting = [asyncio.create_task(event.wait()) for event in (stop, halt)]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        halt.set()
    finally:
        for task in waiting:
            task.cancel()


async def caught_up(database: Database, declarations: Sequence[Kept]) -> None:
    """Waits until every projection is at the log's head and no delta waits."""
    connection = await database.connect("watch")
    try:
        while True:
            status = await read_status(connection, declarations)
            if not any(p.lag_events or p.pending_rows for p in status.projections):
                return
            await asyncio.sleep(POLL_SECONDS)
    finally:
        await connection.close()


@asynccontextmanager
async def watched(run: Run, declarations: Sequence[Kept]) -> AsyncIterator[None]:
    """Shows how it goes: a live picture on a terminal, else a line now and then."""
    connection = await run.database.connect("watch")
    picture = Picture(connection, declarations, run.settings.schema)
    showing = asyncio.create_task(_show(picture, run.json))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)
        if not run.json:
            console.print(await picture.take())
        await connection.close()


async def _show(picture: Picture, quiet: bool) -> None:
    if quiet or not sys.stdout.isatty():
        await picture.take()  # Rates are those since the look before.
        while True:
            await asyncio.sleep(LOG_SECONDS)
            await picture.take()
            log.info("%s", picture.line)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(await picture.take(), refresh=True)
            await asyncio.sleep(SHOW_SECONDS)


async def _prepare(database: Database, chosen: Settings) -> None:
    connection = await database.first_connect("init")
    try:
        declarations = declared_of_any_kind()
        await schema.create(
            connection, declarations, chosen.schema, companions=accompanied(),
            partition_events=chosen.partition_events,
        )  # fmt: skip
        await schema.check(connection, declarations, chosen.schema)
    finally:
        await connection.close()


def _say_where(run: Run) -> None:
    if not run.json:
        console.print(
            f"{masked(run.source)} → {masked(run.database.url)}", markup=False, soft_wrap=True
        )


def _task(work: Coroutine[None, None, object], name: str) -> asyncio.Task[None]:
    async def done() -> None:
        await work

    return asyncio.create_task(done(), name=name)
