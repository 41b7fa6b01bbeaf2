"""`ingest`, `run`, `generate`: into the log, from the log into tables, a made-up firehose."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from events.errors import SourceError
from events.event import Source
from events.sources.generate import GenerateSource
from projector import ingest as flow
from projector import schema
from projector.daemon import Daemon, stop_on_signals
from projector.database import SERVER_ERRORS, Database, close_quietly, masked, one_line
from projector.environment import (
    COMMON,
    Common,
    declared_of_any_kind,
    opened,
    say_what_shows,
    settings,
)
from projector.errors import CannotConnect, UsageError
from projector.generating import write_lines
from projector.ingest import LogSink
from projector.lease import LeaseKeeper
from projector.listen import listening, observed
from projector.notify import supervised
from projector.output import console, errors, print_json
from projector.registry import chosen as chosen_names
from projector.settings import Settings
from projector.sources import StreamTarget, addressed, is_stream, source_of
from projector.telemetry import exported


async def ingest(
    source: str,
    /,
    *,
    to: str | None = None,
    common: Common = COMMON,
) -> None:
    """Append the events of a source to the log, or to a Redis stream, from where it stopped.

    A source that ends, such as a file, ends the command with 0. Ctrl-C or SIGTERM finishes the
    batch under way.

    Parameters
    ----------
    source
        jetstream, wss://HOST/subscribe, redis://HOST:PORT/0?stream=NAME, file:PATH or
        generate:events=200000,seed=1.
    to
        A Redis stream to fill instead of the log: redis://HOST:PORT/0?stream=NAME. It is never
        filled beyond --stream-entries-max: then reading upstream waits.
    """
    chosen = settings()
    source = addressed(source, chosen)
    to = None if to is None else addressed(to, chosen)
    reading = source_of(source, chosen)
    listening(chosen)
    say_what_shows()
    shown = masked(source)
    with exported(), stop_on_signals(chosen.stop_seconds) as stop:
        telling = supervised(chosen, stop, lambda: flow.sentence(reading.name))
        if to is not None:
            streams = [text for text in (source, to) if is_stream(text)]
            with _bar(f"{shown} → {masked(to)}") as show:
                async with observed(chosen, streams=streams), telling:
                    target = StreamTarget(to, reading, chosen)
                    done = await flow.ingest(reading, target, stop, show)
        else:
            async with opened(common, chosen) as database:
                await checked(database)
                streams = [source] if is_stream(source) else []
                with _bar(shown) as show:
                    async with observed(chosen, streams=streams), telling:
                        done = await into_log(database, source, chosen, stop, show)
    if common.json:
        print_json(done)
    else:
        skipped = sum(done.skipped.values())
        console.print(
            f"{done.events:,} events from {shown}; {done.duplicates:,} repeats left out, "
            f"{skipped:,} skipped, {done.undecodable:,} undecodable.",
            soft_wrap=True,
        )


async def into_log(
    database: Database,
    text: str,
    chosen: Settings,
    stop: asyncio.Event,
    show: flow.Show = flow.show_nothing,
) -> flow.Progress:
    """Appends a source to the log until it ends or `stop` is set, holding its lease."""
    return await append_source(database, source_of(text, chosen), chosen, stop, show)


async def append_source(
    database: Database,
    source: Source,
    chosen: Settings,
    stop: asyncio.Event,
    show: flow.Show = flow.show_nothing,
) -> flow.Progress:
    """The same of a source that is made already."""
    keeper = LeaseKeeper(database, lease_seconds=chosen.lease_seconds)
    renewing = asyncio.create_task(keeper.run())
    sink = LogSink(
        database,
        source,
        keeper,
        recent_events=chosen.recent_events,
        partition_events=chosen.partition_events,
        patience_seconds=chosen.lease_seconds * 2,
    )
    try:
        return await flow.ingest(source, sink, stop, show)
    finally:
        renewing.cancel()
        await asyncio.gather(renewing, return_exceptions=True)
        await keeper.close()


async def run(
    *names: str,
    until_caught_up: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Keep projections in step with the log: all of them, or those named.

    Any number may run at once, on any number of machines: each projection has one owner at a time,
    and another takes over within seconds when its owner dies.

    Parameters
    ----------
    names
        Projections; none: all.
    until_caught_up
        End with 0 when all that was in the log at the start is in the tables and counts.
    """
    chosen = settings()
    declarations = declared_of_any_kind()
    only = chosen_names(names, declarations)
    listening(chosen)
    say_what_shows()
    async with opened(common, chosen) as database:
        await checked(database, only)
        with exported(), stop_on_signals(chosen.stop_seconds) as stop:
            daemon = Daemon(database, declarations, chosen, only=only)
            watching = asyncio.create_task(_watch(daemon)) if sys.stderr.isatty() else None
            try:
                async with (
                    observed(chosen, database, declarations, movers=daemon.movers),
                    supervised(
                        chosen, stop, lambda: daemon.sentence, is_ready=lambda: daemon.is_ready
                    ),
                ):
                    await daemon.run(stop, until_caught_up=until_caught_up)
            finally:
                if watching is not None:
                    watching.cancel()
                    await asyncio.gather(watching, return_exceptions=True)
    if common.json:
        print_json({table.name: table.checkpoint for table in daemon.tables})


async def generate(
    spec: str = "events=200000,seed=1",
    /,
    *,
    to: Path | None = None,
    common: Common = COMMON,
) -> None:
    """Write a generated firehose as Jetstream JSON lines.

    Parameters
    ----------
    spec
        What to generate, such as events=200000,seed=1,mix=2024,rate=500.
    to
        A file, compressed where it ends in .gz or .zst; none: standard output.
    """
    try:
        source = GenerateSource.parse(spec.removeprefix("generate:"))
    except SourceError as error:
        raise UsageError(str(error)) from error
    if not source.settings.events and to is not None:
        raise UsageError("an endless firehose needs no file; give events=N")
    with stop_on_signals(settings().stop_seconds) as stop, _bar(f"generate:{spec}") as show:
        done = await write_lines(source, to, stop, show)
    if common.json and to is not None:
        print_json(done)
    elif to is not None:
        console.print(f"{done.events:,} events written to {to}.", soft_wrap=True)


async def checked(database: Database, only: list[str] | None = None) -> None:
    """Makes sure that database and code fit; `only`: those projections as well, none for all."""
    connection = await database.first_connect("check")
    try:
        declarations = [] if only is None else declared_of_any_kind()
        wanted = [d for d in declarations if not only or d.name in only]
        await schema.check(connection, wanted, settings().schema)
    except SERVER_ERRORS as error:
        raise CannotConnect(
            f"cannot connect to {masked(database.url)}: {one_line(error)}; the server went away"
        ) from error
    finally:
        await close_quietly(connection)


@contextmanager
def _bar(what: str) -> Iterator[flow.Show]:
    """A line of progress on a terminal's standard error."""
    with Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.fields[events]:>12,} events"),
        TextColumn("{task.fields[rate]:>9,.0f}/s"),
        console=errors,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        task = progress.add_task(what, total=None, events=0, rate=0.0)
        yield lambda p: progress.update(task, events=p.events, rate=p.events_per_second)


async def _watch(daemon: Daemon) -> None:
    """A bar per projection, from its checkpoint to the log's head."""
    columns = (
        TextColumn("{task.description:<12}"),
        BarColumn(),
        TextColumn("{task.completed:>12,} / {task.total:>12,}"),
        TimeRemainingColumn(compact=True),
    )
    with Progress(*columns, console=errors, transient=True) as progress:
        tasks: list[tuple[TaskID, str]] = []
        while True:
            for i, table in enumerate(daemon.tables):
                if len(tasks) <= i:
                    tasks.append((progress.add_task(table.name, total=None), table.name))
                progress.update(
                    tasks[i][0], completed=table.checkpoint, total=max(daemon.reader.head, 1)
                )
            await asyncio.sleep(0.25)
