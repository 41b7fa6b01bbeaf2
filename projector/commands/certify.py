"""`certify`: an operator's own projections, tried in scratch databases."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import msgspec
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from projector.certify import (
    RECORDS_MAX,
    Certifier,
    Show,
    log_head,
    records_in_log,
    records_made_up,
)
from projector.certify_sheet import Check, Plan, complaint, sheet_json, sheet_lines
from projector.database import Database
from projector.declare import Aggregate, Declaration, Projection
from projector.environment import COMMON, Common, opened, settings
from projector.errors import CheckFailed, UsageError
from projector.output import console, errors, print_json
from projector.registry import chosen as chosen_names
from projector.registry import installed

SEEDS_MAX = 1_000_000


async def certify(
    *names: str,
    records: Path | None = None,
    rounds: int = 3,
    events: int = 300,
    seed: int | None = None,
    through: int | None = None,
    common: Common = COMMON,
) -> None:
    """Try projections against made-up histories: repeats, kills, takeovers, torn windows, rebuilds.

    Prints a line a check, and ends with 1 where one fails; the seed it names makes that history
    again. All of it happens in scratch databases, made on the server and removed again; what is
    there is only read.

    Parameters
    ----------
    names
        Projections; an aggregate stands for those that it counts.
    records
        JSON Lines of records, one a line; none: records of the log, else made up where the
        generator knows the collection.
    rounds
        How many histories each check is tried with.
    events
        How many events a history has.
    seed
        Chooses records and histories; the same seed chooses the same.
    through
        The last offset of the log whose records are used; none: the log's head.
    """
    if not names:
        raise UsageError("name the projections to certify (projector certify --help)")
    if rounds < 1 or events < 10:
        raise UsageError("--rounds is 1 or more, and --events 10 or more")
    declarations = installed()
    projections = _chosen(names, declarations)
    in_file = None if records is None else _read(records)
    plan = Plan(Random().randrange(SEEDS_MAX) if seed is None else seed, rounds, events, records)
    checks: list[Check] = []
    async with _server(common) as (server, log):
        if log is not None and records is None:
            plan = replace(plan, through=await _through(log, through))
        with _shown(common) as show:
            for projection in projections:
                found = await _records(projection, in_file, log, plan)
                certifier = Certifier(
                    server, declarations, settings(), projection,
                    records=found, plan=plan, show=show,
                )  # fmt: skip
                checks += await certifier.run()
    if common.json:
        print_json(sheet_json(checks, plan))
    else:
        for part in sheet_lines(checks, plan):
            console.print(part, soft_wrap=isinstance(part, Text))
    if failed := [check for check in checks if not check.passed]:
        raise CheckFailed(complaint(failed, len(checks), plan))


def _chosen(names: Sequence[str], declarations: Sequence[Declaration]) -> list[Projection]:
    wanted = set(chosen_names(names, declarations))
    for declaration in declarations:
        if isinstance(declaration, Aggregate) and declaration.name in wanted:
            wanted |= {count.of.name for count in declaration.counters.values()}
    return [d for d in declarations if isinstance(d, Projection) and d.name in wanted]


@asynccontextmanager
async def _server(common: Common) -> AsyncIterator[tuple[Database, Database | None]]:
    """A server for scratch databases, and the database whose log may have records: those named,
    or an embedded server; without either one that is made for the time being."""
    there = common.database or (common.folder / "postgres" / "PG_VERSION").exists()
    if there:
        async with opened(common, settings()) as database:
            yield database, database
        return
    # Its path is short, for its socket's sake.
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        own = replace(common, data_dir=Path(folder))
        async with opened(own, settings(), create=True) as database:
            yield database, None


async def _through(log: Database, asked: int | None) -> int | None:
    """The last offset whose record is used; None where there is no log."""
    head = await log_head(log)
    if asked is not None and not 0 < asked <= head:
        raise UsageError(f"--through {asked} is not in the log, which ends at {head}")
    return (asked or head) or None


async def _records(
    projection: Projection, in_file: dict[bytes, object] | None, log: Database | None, plan: Plan
) -> list[bytes]:
    """The records that a projection is tried with: of a file, else of the log, else made up."""
    collection = projection.collection
    found: list[bytes] = []
    if in_file is not None:
        # Those that say what they are of are nobody else's.
        found = [raw for raw, of in in_file.items() if of in (None, collection)][:RECORDS_MAX]
    elif log is not None and plan.through is not None:
        found = await records_in_log(log, collection, plan.through)
    if not found and in_file is None:
        found = records_made_up(collection)
    if not found:
        raise UsageError(
            f"no records of {collection} to try {projection.name} with: "
            + (f"{plan.records} has none" if plan.records else "name a file of them by --records")
        )
    return found


def _read(file: Path) -> dict[bytes, object]:
    """The records of a file, a line each, and what they say is their `$type`."""
    found = {}
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = msgspec.json.decode(line, type=dict[str, object])
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise UsageError(f"{file}, line {number} is no JSON object: {error}") from error
        found[line.strip()] = record.get("$type")
    return found


@contextmanager
def _shown(common: Common) -> Iterator[Show]:
    """What is being tried, on a terminal."""
    if common.json or not sys.stderr.isatty():
        yield lambda _name, _what: None
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=errors, transient=True) as progress:
        task = progress.add_task("", total=None, start=True)
        begun = time.monotonic()

        def show(name: str, what: str) -> None:
            progress.update(task, description=f"{name}: {what}", completed=time.monotonic() - begun)

        yield show
