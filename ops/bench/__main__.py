"""Measures how fast events become exact tables, against the floor of a plain COPY."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from ops.bench import alternatives, data_size_section, growth, popularity, throughput
from ops.bench.alone import Alone
from ops.bench.bloat import Bloat
from ops.bench.latency import Latencies
from ops.bench.place import Place, machine, place
from ops.bench.rebuilding import Rebuilding
from ops.bench.rebuilding_live import LiveLag
from ops.bench.report import Report, say
from ops.bench.resources import Resources
from ops.bench.section import Section
from ops.bench.shares import MIX, ProjectionShares
from ops.bench.throughput import Throughput
from ops.bench.workload import Workload
from projector.embedded_redis import EmbeddedUnavailable, find_redis_servers
from projector.environment import settings
from projector.errors import ProjectorError
from projector.memory import collect_rarely
from projector.registry import kept

Part = Callable[[], Awaitable[list[Section]]]

CORE: Final = ("post", "follow", "like", "repost", "profile_agg", "post_agg")
"""What is kept in a run without options: nearly all events of the network are of these."""
DEFAULT: Final = (*throughput.PARTS, "apply", "latency", "follows", "alternatives")
"""What a run without options measures, in less than ten minutes."""
LONG: Final = ("sizes", "projections", "rebuild", "rebuild-live", "resources", "bloat", "shares")
"""What is measured only when it is named."""
PARTS: Final = (*DEFAULT, *LONG)
NEED_REDIS: Final = ("redis", "resources")


async def measure(options: argparse.Namespace) -> Report:
    """Does the whole run, part by part. SIGTERM ends it as Ctrl-C does: nothing is left behind."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    collect_rarely()
    os.environ["PROJECTOR_PROJECTIONS"] = (
        "*" if options.projections == ["all"] else ",".join(options.projections)
    )  # For the processes that it starts, too.
    declared = kept(os.environ["PROJECTOR_PROJECTIONS"])
    async with place(options.database, settings(), declared, options.postgres) as where:
        about = {**machine(), "postgres": await where.server_version()}
        chosen = {name: value for name, value in vars(options).items() if name != "database"}
        report = Report(about, chosen)
        with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
            for name, part in parts(options, where, Path(folder)):
                begun = time.monotonic()
                for section in await part():
                    report.add(section)
                say(f"{name} took {time.monotonic() - begun:.0f} s")
    return report


def parts(options: argparse.Namespace, where: Place, folder: Path) -> list[tuple[str, Part]]:
    """What is wanted, in its order: what starts processes of its own before what fills ours."""
    seed, rounds, only = options.seed, options.rounds, options.only
    load = Workload(where, options.events, seed, folder)
    resources = Resources(where, options.backlog, seed, folder)
    bloat = Bloat(where, options.bloat_rate, options.bloat_seconds, seed, folder)
    latency = Latencies(where, seed, options.latency_seconds, folder)
    sized = data_size_section.size_sections
    sizes = partial(sized, where, seed=seed, sizes=options.sizes, rounds=rounds)
    rebuilding = Rebuilding(where, load, folder)
    shares = ProjectionShares(where, Workload(where, options.events, seed, folder, MIX))
    flows = Throughput(where, load, only, seed)
    all_parts: list[tuple[str, Part]] = [
        ("latency", partial(_one, latency.measure)),
        ("throughput", partial(_one, partial(flows.measure, rounds))),
        ("apply", partial(_one, partial(Alone(where, load).measure, rounds))),
        ("follows", partial(_one, partial(popularity.section, where, seed=seed))),
        ("alternatives", partial(_one, partial(alternatives.section, where, seed=seed))),
        ("sizes", sizes),
        ("projections", partial(_one, partial(growth.number_section, where, seed=seed))),
        ("rebuild", partial(_one, partial(rebuilding.measure, rounds))),
        ("rebuild-live", partial(_one, LiveLag(where, load, Path(folder)).measure)),
        ("resources", resources.measure),
        ("bloat", partial(_one, bloat.measure)),
        ("shares", partial(_one, partial(shares.measure, rounds))),
    ]
    wanted = {*only} | ({"throughput"} if {*only} & {*throughput.PARTS} else set())
    return [(name, part) for name, part in all_parts if name in wanted]


async def _one(part: Callable[[], Awaitable[Section]]) -> list[Section]:
    return [await part()]


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
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
    add("--only", type=lambda text: text.split(","), default=list(DEFAULT),
        help=f"parts, by commas: {', '.join(DEFAULT)} [these]; {', '.join(LONG)}")  # fmt: skip
    add("--projections", type=lambda text: text.split(","), default=list(CORE), metavar="NAME,NAME",
        help=f"what is kept: all, or these [{','.join(CORE)}]")  # fmt: skip
    add("--backlog", type=int, default=1_000_000, metavar="EVENTS",
        help="events of `resources` [1,000,000]")  # fmt: skip
    add("--sizes", type=lambda text: [int(n) for n in text.split(",")], metavar="N,N",
        default=[10_000, 100_000, 1_000_000],
        help="rows in the tables of `sizes` [10000,100000,1000000]")  # fmt: skip
    add("--latency-seconds", type=float, default=20, metavar="S",
        help="how long each rate of `latency` is kept up [20]")  # fmt: skip
    add("--bloat-seconds", type=float, default=60, metavar="S", help="how long `bloat` lasts [60]")
    add("--bloat-rate", type=int, default=1_000, metavar="N",
        help="events a second of `bloat` [1,000]")  # fmt: skip
    add("--save", metavar="NAME", help="keep the figures in ops/bench/results/NAME.json")
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def without_redis(only: Sequence[str]) -> list[str]:
    """The parts that can be measured here: some need a redis-server."""
    try:
        find_redis_servers()
    except EmbeddedUnavailable as error:
        say(f"left out, {', '.join(NEED_REDIS)}: {error}")
        return [name for name in only if name not in NEED_REDIS]
    return list(only)


def _is_trouble(record: logging.LogRecord) -> bool:
    """Whether a source says more than that it began or ended."""
    text = record.getMessage()
    return "read to its end" not in text and "connected to" not in text


def main() -> None:
    """Measures, prints, saves."""
    options = parsed()
    options.only = without_redis(options.only)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("projector.sources").addFilter(_is_trouble)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            report = runner.run(measure(options))
    except ProjectorError as error:
        sys.exit(f"bench: {error}")
    except asyncio.CancelledError:
        sys.exit("bench: ended by SIGTERM")
    print(report.text())
    if options.save:
        say(f"saved {report.save(options.save)}")


if __name__ == "__main__":
    main()
