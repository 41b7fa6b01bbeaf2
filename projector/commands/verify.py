"""`verify`: prove the counters, the rows and the log, and say what mends what is wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import asyncpg
from cyclopts import Parameter
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from projector import schema
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import CheckFailed, UsageError
from projector.logcheck import mend_head
from projector.output import console, errors, print_json, table
from projector.prove_all import Report
from projector.verifying import Verification, Verifier

ROWS_SHOWN_MAX: Final = 100
JSON_DIFFERENCES_MAX: Final = 10_000
Flag = Annotated[bool, Parameter(negative="")]


async def verify(
    *,
    rows: Flag = False,
    sample: int = 0,
    seed: int | None = None,
    log: Flag = False,
    all: Flag = False,
    mend_log_head: Annotated[bool, Parameter(name="--mend-head", negative="")] = False,
    common: Common = COMMON,
) -> None:
    """Prove every count: stored + pending = count(*) of the rows, for every key, in one snapshot.

    And, at a glance, that the log is whole. Ends with 1 where anything differs, and says what
    mends it. All of it runs beside live projectors.

    Parameters
    ----------
    rows
        Prove every row as well: folds the whole log, account by account. Needs room for a packed
        copy of tables and log (setting scratch_folder), given back at the end.
    sample
        Prove the rows of so many accounts, those of random events.
    seed
        Chooses the sample; the same seed chooses the same accounts of the same log.
    log
        Walk along every offset of the log, and check the archive's files.
    all
        Everything: --rows and --log.
    mend_log_head
        First set the log's head to its last event.
    """
    if sample < 0:
        raise UsageError("--sample is a number of accounts, 1 or more")
    chosen = settings()
    declarations = declared()
    async with opened(common, chosen) as database:
        connection = await database.first_connect("verify")
        try:
            await schema.check(connection, declarations)
            if mend_log_head:
                await _mend_head(connection, common)
            with _progress(common) as report:
                verifier = Verifier(connection, declarations, chosen.schema, report)
                await verifier.log(full=log or all)
                if rows or all:
                    folder = chosen.scratch_folder
                    await verifier.rows(Path(folder) if folder else None)
                elif sample:
                    seed = time.time_ns() if seed is None else seed
                    await verifier.sample(sample, seed)
                await verifier.counters()
        finally:
            await connection.close()
    if common.json:
        _print_json(verifier.found)
    else:
        _print(verifier.found)
    if not verifier.found.is_exact:
        raise CheckFailed(_complaint(verifier.found))


async def _mend_head(connection: asyncpg.Connection, common: Common) -> None:
    head = await mend_head(connection)
    if not common.json:
        console.print(f"the log's head is {head:,}, its last event.")


@contextmanager
def _progress(common: Common) -> Iterator[Report]:
    """A bar with rate and time left, on a terminal."""
    if common.json or not sys.stderr.isatty():
        yield lambda _what, _done, _of: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, transient=True) as bars:
        yield _Bars(bars).report


class _Bars:
    """One bar for each part of the work, as it comes."""

    def __init__(self, bars: Progress) -> None:
        self.bars = bars
        self.what = ""
        self.task: TaskID | None = None
        self.begun = 0.0

    def report(self, what: str, done: int, of: int) -> None:
        """Moves the bar of the part; with nothing to count it only shows that it works."""
        if what != self.what or self.task is None:
            if self.task is not None:
                self.bars.remove_task(self.task)
            self.what, self.begun = what, time.monotonic()
            self.task = self.bars.add_task(what, total=of or None, rate="")
        seconds = max(time.monotonic() - self.begun, 0.001)
        rate = f"{done / seconds:,.0f}/s" if of else ""
        self.bars.update(self.task, completed=done, total=of or None, rate=rate)


def _print_json(found: Verification) -> None:
    known = {name: getattr(found, name) for name in found.__struct_fields__}
    known["row_differences"] = found.row_differences[:JSON_DIFFERENCES_MAX]
    print_json({"exact": found.is_exact, **known})


def _print(found: Verification) -> None:
    names: tuple[str, ...]
    if found.rows:
        names = ("projection", "as of", "accounts", "keys", "differences")
        proven = [(r.projection, r.as_of, r.accounts, r.keys, r.differences) for r in found.rows]
        console.print(table("rows against the log", names, proven))
    if found.row_differences:
        names = ("projection", "uri", "part", "is", "columns", "event")
        wrong = [
            (d.projection, d.uri, d.part, d.kind, " ".join(d.columns), d.log_offset)
            for d in found.row_differences[:ROWS_SHOWN_MAX]
        ]
        console.print(table("rows that differ", names, wrong))
    if found.differences:
        names = ("aggregate", "counter", "key", "stored", "pending", "counted")
        counters = [
            (d.aggregate, d.counter, d.key, d.stored, d.pending, d.counted)
            for d in found.differences[:ROWS_SHOWN_MAX]
        ]
        console.print(table("differences", names, counters))
    if found.is_exact:
        console.print(
            f"[bold green]exact[/]: {found.counters} counters over {found.keys:,} keys, every one "
            f"equal to count(*) of its rows{_proven(found)}; 0 differences."
        )
        return
    if found.unproven:
        console.print(f"[bold red]not compared[/]: {escape(found.unproven)}.")
    for finding in found.findings:
        keys = "1 key" if finding.keys == 1 else f"{finding.keys:,} keys"
        _print_finding(f"{finding.name} ({finding.of}, {keys})", finding.text, finding.mend)
    for fault in found.log:
        _print_finding(fault.name, fault.text, fault.mend)


def _print_finding(name: str, text: str, mend: str) -> None:
    line = f"[bold red]{name}[/]: {escape(text)}. To mend it: [bold]{escape(mend)}[/]"
    console.print(line, soft_wrap=True)


def _proven(found: Verification) -> str:
    if not found.rows:
        return ""
    rows, accounts = sum(r.keys for r in found.rows), max(r.accounts for r in found.rows)
    return f"; {rows:,} rows of {accounts:,} accounts as the log has them"


def _complaint(found: Verification) -> str:
    parts = []
    if found.differences:
        parts.append(f"{len(found.differences):,} counters differ from their rows")
    if found.row_differences:
        wrong = sum(proven.differences for proven in found.rows)
        parts.append(f"{wrong:,} rows differ from the log")
    if found.log:
        parts.append(f"{len(found.log):,} faults of the log")
    return f"{', '.join(parts)}; the lines above name the causes and what mends them"
