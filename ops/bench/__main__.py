"""Measures how fast events become exact tables, against the floor of a plain COPY."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvloop

from events.event import Batch
from ops.bench.floor import Load, copy_log, copy_rows, read_back
from ops.bench.flow import append, batches_of, end_to_end, project, prove, spec, write_lines
from ops.bench.place import Place, machine, place
from ops.bench.popularity import Popularity
from ops.bench.report import FLOOR, Report
from projector.environment import settings
from projector.memory import collect_rarely
from projector.registry import installed

PARTS = ("append", "projected", "floor", "generated", "file", "follows")


async def measure(options: argparse.Namespace) -> Report:
    """Does the whole run."""
    async with place(options.database, settings(), installed(), options.postgres) as where:
        about = {**machine(), "postgres": await where.server_version()}
        chosen = {name: value for name, value in vars(options).items() if name != "database"}
        report = Report(about, chosen, options.events)
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            if set(options.only) - {"follows"}:
                await _flows(where, options, report, Path(folder))
        if "follows" in options.only:
            say("follows")
            async with where.fresh() as database:
                report.follows = await Popularity(where, options.seed).measure(database)
    return report


async def _flows(where: Place, options: argparse.Namespace, report: Report, folder: Path) -> None:
    say(f"making {options.events:,} events")
    batches = await batches_of(where, options.events, options.seed)
    write_lines(batches, folder / "events.jsonl")
    warm = min(len(batches), 1 + 20_000 // where.settings.batch_events_max)
    collect_rarely()
    for number in range(options.rounds + 1):
        say(f"round {number} of {options.rounds}" if number else "warming up")
        into = report if number else Report({}, {}, 0)
        part = batches if number else batches[:warm]
        await _round(where, options, into, part, folder / "events.jsonl" if number else None)


async def _round(
    where: Place,
    options: argparse.Namespace,
    report: Report,
    batches: Sequence[Batch],
    file: Path | None,
) -> None:
    """Each measurement once, one after the other, each in a fresh database."""
    only, events = options.only, sum(len(batch.events) for batch in batches)
    loads: list[Load] = []
    if {"append", "projected", "floor"} & set(only):
        async with where.fresh() as database:
            await append(where, database, batches, report.rounds("append"))
            if {"projected", "floor"} & set(only):
                await project(where, database, report.rounds("projected"))
                await prove(where, database, events)
            if "floor" in only:
                loads = await read_back(where, database)
        async with where.fresh() as database:
            await copy_log(where, database, batches, report.rounds("log by COPY"))
    if loads:
        async with where.fresh() as database:
            await copy_rows(where, database, loads, report.rounds(FLOOR))
        del loads
    for part, source in (("generated", spec(events, options.seed)), ("file", f"file:{file}")):
        if part in only and (part == "generated" or file is not None):
            async with where.fresh() as database:
                rounds = report.rounds(f"end to end, {part}")
                await end_to_end(where, database, source, Path(), rounds)
                await prove(where, database, events)


def say(line: str) -> None:
    """Progress, on standard error."""
    print(f"bench: {line}", file=sys.stderr, flush=True)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m ops.bench", description=__doc__)
    add = parser.add_argument
    add("--events", type=int, default=300_000, help="events in the log [300,000]")
    add("--quick", action="store_const", const=100_000, dest="events", help="100,000 events")
    add("--rounds", type=int, default=3, help="rounds after the warm-up [3]")
    add("--seed", type=int, default=1, help="of the generated firehose [1]")
    add("--database", help="URL of a server; none: one of our own in a temporary folder")
    add("--postgres", action="append", default=[], metavar="NAME=VALUE",
        help="a setting of the server of our own; may be repeated")  # fmt: skip
    add("--only", type=lambda text: text.split(","), default=list(PARTS),
        help=f"parts to measure, by commas, of {', '.join(PARTS)}")  # fmt: skip
    add("--save", metavar="NAME", help="keep the figures in ops/bench/results/NAME.json")
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    """Measures, prints, saves."""
    options = parsed()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        report = runner.run(measure(options))
    print(report.text())
    if options.save:
        say(f"saved {report.save(options.save)}")


if __name__ == "__main__":
    main()
