"""`explain`, `history`, `bisect`: one number or one row, and what made it what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated

import asyncpg
import msgspec
from cyclopts import Parameter
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from projector import schema
from projector.declare import Declaration, Projection
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import CheckFailed, UsageError
from projector.explain import Explanation, Numbers
from projector.explain import explain as explain_key
from projector.history import History, read_history
from projector.movements import Report
from projector.output import console, errors, print_json, table
from projector.parting import Parting, bisect_counter, bisect_row
from projector.plot import terminal_plot, write_plot
from projector.watch import find_counter

READ_SETTINGS = {"plan_cache_mode": "force_custom_plan"}
"""Hundreds of accounts are looked for in every event that a statement sees: only a plan that knows
them looks them up, and one made for any accounts compares them one by one."""

SHOWN_MAX = 10
"""How many rows of what is beside the point are printed for people."""


async def explain(
    counter: str,
    key: str,
    /,
    *,
    last: int = 10,
    search_events: int = 2_000_000,
    common: Common = COMMON,
) -> None:
    """Explain one number: stored, pending, counted, and the latest events that moved it.

    Ends with 1 where stored + pending is not what is counted.

    Parameters
    ----------
    counter
        The counter, such as followersCount, or AGGREGATE.COUNTER.
    key
        What is counted for, such as a DID or an at-uri.
    last
        How many events to show, the latest first.
    search_events
        How many of the log's latest offsets to look through for them; 0: the whole log.
    """
    if last < 1 or search_events < 0:
        raise UsageError("--last must be 1 or more, --search-events 0 or more")
    chosen, found = settings(), find_counter(counter, declared())
    async with _connected(common, "explain", (found.aggregate, found.projection)) as connection:
        with progress() as report:
            explained = await explain_key(
                connection, found, key, chosen.schema,
                last=last, search_events=search_events, report=report,
            )  # fmt: skip
    numbers = explained.numbers
    if common.json:
        parts = msgspec.to_builtins(explained)
        sums = {"kept": numbers.kept, "agrees": numbers.agrees}
        print_json(parts | parts.pop("numbers") | sums)
    else:
        _print_explanation(explained)
    if explained.advice is not None:
        raise CheckFailed(
            f"{explained.counter} of {key} says {numbers.kept:,} and its rows are "
            f"{numbers.counted:,}; run: {explained.advice}"
        )


def _print_explanation(found: Explanation) -> None:
    numbers = found.numbers
    _print_numbers(found, numbers)
    if found.movements:
        title = f"the latest {len(found.movements):,} events that moved it"
        rows = [
            (m.log_offset, m.occurred_at.strftime("%Y-%m-%d %H:%M:%S.%f")[:-3], f"{m.change:+,}",
             f"{m.kind} {m.action}", m.uri or m.did)
            for m in found.movements
        ]  # fmt: skip
        console.print(table(title, ("offset", "time, UTC", "change", "what", "of"), rows))
    else:
        console.print("No event moved it.")
    where = found.searched
    said = f"Looked through offsets {where.after + 1:,} to {where.through:,}"
    if where.complete:
        said += ": the whole log, as far as it is applied."
    else:
        said += (
            ". The deletion of a record from before is not seen there; "
            "--search-events 0 looks through the whole log."
        )
    console.print(said, soft_wrap=True)
    if found.repeats:
        console.print(f"{found.repeats:,} events of these accounts were repeats and did nothing.")


def _print_numbers(found: Explanation, numbers: Numbers) -> None:
    verdict = "[bold green]they agree[/]" if numbers.agrees else "[bold red]they differ[/]"
    console.print(f"{found.counter} of {found.key}", style="bold", markup=False, soft_wrap=True)
    pending = numbers.kept - numbers.stored
    console.print(
        f"stored {numbers.stored:,} {'+' if pending >= 0 else '-'} pending {abs(pending):,}"
        f" = {numbers.kept:,}; rows of {found.projection} with this {found.column}: "
        f"{numbers.counted:,}; {verdict}",
        soft_wrap=True,
    )
    if numbers.head > numbers.checkpoint:
        console.print(
            f"{numbers.head - numbers.checkpoint:,} events of the log are still to be applied."
        )
    if numbers.pending:
        title = f"pending deltas: {len(numbers.pending):,}"
        rows = [(d.projection, d.through_offset, f"{d.change:+,}") for d in numbers.pending]
        _print_first(title, ("projection", "through offset", "change"), rows)
    if numbers.duplicates:
        title = f"duplicates that wait and do not count: {numbers.duplicates_total:,}"
        waiting = [(d.indexed_at, d.uri) for d in numbers.duplicates]
        _print_first(title, ("indexed at", "record"), waiting)
    if numbers.dead_letters:
        title = f"dead letters concerned: {len(numbers.dead_letters):,}"
        letters = [(x.id, x.log_offset, x.reason, x.uri, x.error) for x in numbers.dead_letters]
        _print_first(title, ("id", "offset", "reason", "record", "error"), letters)


def _print_first(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints the first rows; --json has all."""
    if len(rows) > SHOWN_MAX:
        title += f"; {SHOWN_MAX} of them (--json has more)"
    console.print(table(title, columns, rows[:SHOWN_MAX]))


async def history(
    counter: str,
    key: str,
    /,
    *,
    since: Annotated[str | None, Parameter(name="--from")] = None,
    until: Annotated[str | None, Parameter(name="--to")] = None,
    png: Path | None = None,
    svg: Path | None = None,
    common: Common = COMMON,
) -> None:
    """Draw a counter over time, as the log has it.

    Parameters
    ----------
    counter
        The counter, such as followersCount, or AGGREGATE.COUNTER.
    key
        What is counted for, such as a DID or an at-uri.
    since
        Where to begin: an offset, or a moment such as 2026-07-04T12:30:00Z.
    until
        Where to end: the same.
    png
        Draw to this PNG file.
    svg
        Draw to this SVG file.
    """
    files = [(path, kind) for path, kind in ((png, ".png"), (svg, ".svg")) if path is not None]
    for path, kind in files:
        if path.suffix != kind:
            raise UsageError(f"the name of {path} must end with {kind}")
    found = find_counter(counter, declared())
    async with _connected(common, "history", ()) as connection:
        with progress() as report:
            course = await read_history(
                connection, found, key, since=since, until=until, report=report,
                schema=settings().schema,
            )  # fmt: skip
    for path, _ in files:
        write_plot(course, path)
    if common.json:
        print_json(course)
    elif not files:
        _print_history(course)
    else:
        for path, _ in files:
            console.print(f"drawn to {path}", soft_wrap=True)


def _print_history(course: History) -> None:
    console.print(terminal_plot(course, console.width), markup=False, soft_wrap=True)
    console.print(
        f"{course.value:,} at offset {course.to_offset:,}; {course.movements:,} events moved it "
        f"since offset {course.from_offset:,}."
    )


async def bisect(name: str, key: str, /, *, common: Common = COMMON) -> None:
    """Find the first offset at which a counter, or a row, parted from what the log says.

    Ends with 1 where they parted.

    Parameters
    ----------
    name
        A counter, such as followersCount or AGGREGATE.COUNTER; or a projection, for a row.
    key
        What the counter counts for; or the at-uri of the row.
    """
    chosen, declarations = settings(), declared()
    rows = [d for d in declarations if isinstance(d, Projection) and d.name == name]
    counter = None if rows else find_counter(name, declarations)
    read = rows if counter is None else (counter.aggregate, counter.projection)
    async with _connected(common, "bisect", read) as connection:
        with progress() as report:
            if counter is None:
                found = await bisect_row(connection, rows[0], key, chosen.schema, report)
            else:
                found = await bisect_counter(connection, counter, key, chosen.schema, report)
    if common.json:
        print_json(found)
    else:
        _print_parting(found)
    if found.parted:
        where = "at no offset of the log" if found.log_offset is None else f"at {found.log_offset}"
        raise CheckFailed(f"{found.of} of {key} parted from the log {where}; run: {found.advice}")


def _print_parting(found: Parting) -> None:
    console.print(f"{found.of} of {found.key}", style="bold", markup=False, soft_wrap=True)
    for kind, said in (("certain", found.certain), ("inferred", found.inferred)):
        for sentence in said:
            console.print(f"{kind:>8}: {sentence}", markup=False, soft_wrap=True)
    if found.rows:
        title = f"rows that are not as the log says: {found.rows_total:,}"
        rows = [(row.uri, row.kind, row.log_offset, row.proven_through) for row in found.rows]
        columns = ("row", "is", "lacks the effect of offset", "proven through offset")
        console.print(table(title, columns, rows))


@asynccontextmanager
async def _connected(
    common: Common, role: str, read: Sequence[Declaration]
) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database that has the tables of what is to be read."""
    async with opened(common, settings()) as database:
        connection = await database.first_connect(role, **READ_SETTINGS)
        try:
            await schema.check(connection, read)
            yield connection
        finally:
            await connection.close()


@contextmanager
def progress() -> Iterator[Report]:
    """Shows how much of the log has been looked through, on a terminal only."""
    columns = (TextColumn("looking through the log"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
