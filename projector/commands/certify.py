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

from projector.certify import (
    RECORDS_MAX,
    Certifier,
    Check,
    Plan,
    Show,
    records_in_log,
    records_made_up,
)
from projector.database import Database
from projector.declare import Aggregate, Declaration, Projection
from projector.environment import COMMON, Common, opened, settings
from projector.errors import CheckFailed, UsageError
from projector.output import console, errors, print_json, table
from projector.registry import chosen as chosen_names
from projector.registry import installed

SEEDS_MAX = 1_000_000


async def certify(
    *names: str,
    records: Path | None = None,
    rounds: int = 3,
    events: int = 300,
    seed: int | None = None,
    common: Common = COMMON,
) -> None:
    """Try projections against made-up histories: repeats, kills, takeovers, torn windows, rebuilds.

    Prints a line a check, and ends with 1 where one fails; the seed it names repeats it. All of it
    happens in scratch databases, made on the server and removed again; what is there is only read.

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
    """
    if not names:
        raise UsageError("name the projections to certify (projector certify --help)")
    if rounds < 1 or events < 10:
        raise UsageError("--rounds is 1 or more, and --events 10 or more")
    declarations = installed()
    projections = _chosen(names, declarations)
    chosen = settings()
    plan = Plan(Random().randrange(SEEDS_MAX) if seed is None else seed, rounds, events)
    checks: list[Check] = []
    async with _server(common) as (server, log):
        with _shown(common) as show:
            for projection in projections:
                found = await _records(projection, records, log, len(projections))
                certifier = Certifier(
                    server, declarations, chosen, projection, records=found, plan=plan, show=show
                )
                checks += await certifier.run()
    _print(checks, plan, as_json=common.json)
    failed = [check for check in checks if not check.passed]
    if failed:
        raise CheckFailed(_complaint(failed, len(checks), plan, records))


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


async def _records(
    projection: Projection, file: Path | None, log: Database | None, projections: int
) -> list[bytes]:
    collection = projection.collection
    if file is not None:
        found = _read(file, collection if projections > 1 else None)
    else:
        found = await records_in_log(log, collection) if log is not None else []
        found = found or records_made_up(collection)
    if not found:
        raise UsageError(
            f"no records of {collection} to try {projection.name} with: "
            + (f"{file} has none" if file else "name a file of them by --records, a line each")
        )
    return found


def _read(file: Path, collection: str | None) -> list[bytes]:
    """The records of a file, those of one collection by their `$type`."""
    found = []
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
        if collection is None or record.get("$type") == collection:
            found.append(line.strip())
    return found[:RECORDS_MAX]


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


def _print(checks: Sequence[Check], plan: Plan, *, as_json: bool) -> None:
    passed = all(check.passed for check in checks)
    if as_json:
        print_json(
            {
                "passed": passed, "seed": plan.seed, "rounds": plan.rounds, "events": plan.events,
                "checks": checks,
            }
        )  # fmt: skip
        return
    rows = [
        (check.projection, check.name, "pass" if check.passed else "FAIL", check.seed)
        for check in checks
    ]
    console.print(table("certificate", ("projection", "check", "result", "seed"), rows))
    for check in checks:
        if not check.passed:
            line = f"{check.projection}, {check.name}: {check.detail}"
            console.print(line, markup=False, soft_wrap=True)
    if not passed and not any(check.name == "stored" for check in checks):
        console.print("Histories were not tried: that is for what passes all of these.")
    if passed:
        console.print(
            f"[bold green]passed[/]: {len(checks)} checks, {plan.rounds} histories of "
            f"{plan.events} events each, from seed {plan.seed}."
        )


def _complaint(failed: Sequence[Check], checks: int, plan: Plan, records: Path | None) -> str:
    first = next((check for check in failed if check.seed is not None), failed[0])
    words = ["projector certify", first.projection]
    if first.seed is not None:
        words += ["--seed", str(first.seed), "--rounds 1 --events", str(plan.events)]
    if records is not None:
        words += ["--records", str(records)]
    return f"{len(failed)} of {checks} checks failed; {' '.join(words)} repeats the first"
