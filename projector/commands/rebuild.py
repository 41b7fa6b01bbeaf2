"""`rebuild`, `rollback`, `as-of`: tables built anew from the log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from projector import schema, shadow
from projector.as_of import AsOf
from projector.building import Show
from projector.compare import Comparison
from projector.declare import Fed
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import CheckFailed, UsageError
from projector.moments import offset_at
from projector.output import console, errors, print_json, table
from projector.rebuild import DIFFERENCES_MAX, Rebuild
from projector.rebuilding import Options, Outcome
from projector.registry import chosen as chosen_names


async def rebuild(
    *names: str,
    every: Annotated[bool, Parameter(name="--all", negative="")] = False,
    jobs: int = 8,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    keep_old: Annotated[bool, Parameter(negative="")] = False,
    restart: Annotated[bool, Parameter(negative="")] = False,
    abandon: Annotated[bool, Parameter(negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Build projections from the log beside the live ones, compare both, and swap them in.

    The aggregates over them are built as well. Daemons and readers go on all the while. Killed, the
    same command goes on where it was.

    Parameters
    ----------
    names
        Projections and aggregates.
    every
        All of them.
    jobs
        How many are loaded at once.
    dry_run
        Stop after the comparison, with 1 where anything differs; nothing is changed.
    keep_old
        Keep the old tables, for `projector rollback`, until the next rebuild.
    restart
        Begin anew, even where an earlier rebuild could be gone on with.
    abandon
        Only remove what an unfinished rebuild, or --keep-old, has left.
    """
    declarations = declared()
    if every == bool(names):
        raise UsageError("name the projections to rebuild, or --all (projector rebuild --help)")
    wanted = chosen_names(names, declarations) if names else [d.name for d in declarations]
    options = Options(max(jobs, 1), dry_run, keep_old, restart)
    chosen = settings()
    async with opened(common, chosen) as database:
        connection = await database.first_connect("rebuild check")
        try:
            await schema.check(connection, ())
        finally:
            await connection.close()
        with _bars() as show:
            rebuilding = Rebuild(
                database, declarations, chosen, names=wanted, options=options, show=show
            )
            if abandon:
                await rebuilding.abandon()
                outcome = rebuilding.outcome
            else:
                outcome = await rebuilding.run()
    if abandon:
        _print_abandoned(outcome, as_json=common.json)
        return
    _print(outcome, options, as_json=common.json)
    if dry_run and not outcome.comparison.is_equal:
        raise CheckFailed(
            f"{outcome.comparison.rows} rows and {outcome.comparison.counts} counters differ from "
            "what the log says; without --dry-run they are put right"
        )


async def rollback(
    *names: str,
    common: Common = COMMON,
) -> None:
    """Put back the tables that `rebuild --keep-old` kept, brought up to date, with exact counts.

    What was live is kept in turn.

    Parameters
    ----------
    names
        Projections.
    """
    declarations = declared()
    if not names:
        raise UsageError("name the projections to roll back (projector rollback --help)")
    wanted = chosen_names(names, declarations)
    chosen = settings()
    options = Options(keep_old=True)
    async with opened(common, chosen) as database:
        connection = await database.first_connect("rollback")
        try:
            await schema.check(connection, ())
            for declaration in declarations:
                if declaration.name in wanted:
                    if isinstance(declaration, Fed):
                        raise UsageError(
                            f"{declaration.name} is an aggregate: it is counted anew when a "
                            "projection that it counts is rolled back"
                        )
                    await shadow.put_back(connection, declaration)
        finally:
            await connection.close()
        with _bars() as show:
            outcome = await Rebuild(
                database, declarations, chosen, names=wanted, options=options, show=show
            ).run()
    _print(outcome, options, as_json=common.json)


async def as_of(
    moment: str,
    /,
    *names: str,
    into: str,
    common: Common = COMMON,
) -> None:
    """Build tables as they were at an offset or a time, in a schema of their own.

    Parameters
    ----------
    moment
        An offset of the log, or a time such as 2026-11-23T03:00:00Z: what was appended by then.
    names
        Projections and aggregates; none: all.
    into
        The schema to make them in; it must not exist yet.
    """
    declarations = declared()
    wanted = chosen_names(names, declarations) if names else [d.name for d in declarations]
    chosen = settings()
    async with opened(common, chosen) as database:
        connection = await database.first_connect("as-of check")
        try:
            await schema.check(connection, ())
            offset = await offset_at(connection, moment, last=True)
        finally:
            await connection.close()
        with _bars() as show:
            building = AsOf(database, declarations, chosen, names=wanted, into=into, show=show)
            events = await building.run(offset)
    if common.json:
        print_json({"offset": offset, "into": into, "names": building.names, "events": events})
    else:
        console.print(
            f"{', '.join(building.names)} as of offset {offset:,} are in the schema {into}, from "
            f"{events:,} events. DROP SCHEMA {into} CASCADE removes them.",
            soft_wrap=True,
        )


def _print_abandoned(outcome: Outcome, *, as_json: bool) -> None:
    if as_json:
        print_json({"names": outcome.names, "abandoned": True})
    else:
        console.print(
            f"Nothing is left of rebuilds of {', '.join(outcome.names)}; the live goes on."
        )


def _print(outcome: Outcome, options: Options, *, as_json: bool) -> None:
    found = outcome.comparison
    if as_json:
        print_json(
            {
                "names": outcome.names, "events": outcome.events,
                "seconds": round(outcome.seconds, 3), "compared": outcome.compared,
                "rows_different": found.rows, "counts_different": found.counts,
                "rows": [
                    {"reason": x.reason, **_fields(x.difference)} for x in found.row_differences
                ],
                "counts": found.count_differences, "swapped": outcome.swapped,
                "kept_old": outcome.swapped and options.keep_old,
            }
        )  # fmt: skip
        return
    _print_differences(found)
    rate = outcome.events / outcome.seconds if outcome.seconds else 0.0
    console.print(
        f"{', '.join(outcome.names)} rebuilt from {outcome.events:,} events in "
        f"{outcome.seconds:,.1f} s ({rate:,.0f}/s); compared: "
        f"{', '.join(outcome.compared) or 'nothing, since nothing was live yet'}; "
        f"{found.rows:,} rows and {found.counts:,} counters differed.",
        soft_wrap=True,
    )
    if not outcome.swapped:
        console.print("Nothing was changed (--dry-run).")
    elif options.keep_old:
        console.print("Live now. The old tables are kept: projector rollback NAME")
    else:
        console.print("Live now.")


def _print_differences(found: Comparison) -> None:
    if found.row_differences:
        rows = [
            (x.difference.projection, x.difference.part, x.difference.kind, x.difference.uri,
             ", ".join(x.difference.columns), x.reason)
            for x in found.row_differences
        ]  # fmt: skip
        columns = ("projection", "part", "live row is", "uri", "columns", "likely reason")
        console.print(table("rows that differ", columns, rows))
    if found.count_differences:
        counts = [
            (x.aggregate, x.counter, x.key, x.live, x.rebuilt) for x in found.count_differences
        ]
        heads = ("aggregate", "counter", "key", "live", "rebuilt")
        console.print(table("counters that differ", heads, counts))
    if max(found.rows, found.counts) > DIFFERENCES_MAX:
        console.print(f"(The first {DIFFERENCES_MAX:,} are shown.)")


def _fields(value: object) -> dict[str, object]:
    names: tuple[str, ...] = getattr(value, "__struct_fields__", ())
    return {name: getattr(value, name) for name in names}


@contextmanager
def _bars() -> Iterator[Show]:
    """A bar per declaration on a terminal: what it is at, how far, how fast, and how long still."""
    with Progress(
        TextColumn("{task.description:<24}"),
        BarColumn(),
        TextColumn("{task.completed:>12,} / {task.total:>12,}"),
        TextColumn("{task.speed:>9,.0f}/s"),
        TimeRemainingColumn(compact=True),
        console=errors,
        transient=True,
        disable=not sys.stderr.isatty(),
    ) as progress:
        tasks: dict[tuple[str, str], TaskID] = {}

        def show(name: str, what: str, done: int, total: int) -> None:
            key = (name, what)
            if key not in tasks:
                tasks[key] = progress.add_task(f"{name}: {what}", total=max(total, 1))
            progress.update(tasks[key], completed=done, total=max(total, 1))

        yield show
