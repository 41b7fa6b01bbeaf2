"""An account with very many rows, deleted while its daemon is killed in the midst of that.

    python -m tests.simulator.vast --rows 1000000 --seed 1

A history of the simulator in which one account makes so many likes and follows, each of something
else, and is then deleted, goes through `ingest` and `run`, each a process of its own, with the
settings that everybody has. The daemon is killed while Postgres takes the account's rows out, and
started again. In the end the oracle compares the log with the history and all tables with its final
state; a connection looks all the while whether every counter is exact. Exit code 1 where anything
is wrong.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from projector.embedded_postgres import EmbeddedPostgres
from tests.simulator.delivery import lines
from tests.simulator.facts import Fact
from tests.simulator.faults.servers import end_in_order
from tests.simulator.field import Field
from tests.simulator.network import Network
from tests.simulator.oracle import Oracle
from tests.simulator.probe import probing
from tests.support.cli import Place
from tests.support.watch import Watch

SECONDS_MAX = 1_800.0
KILLED_ROWS_MIN = 100_000
"""Of so many rows on the removal takes long enough to be met in the midst of it."""
EVENTS = 1_000
"""What the other accounts do, in facts."""
REMOVING = """
SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()
    AND query LIKE 'WITH gone AS%DELETE%'
"""


def history(seed: int, rows: int) -> list[Fact]:
    """The facts; what is repeated or refused is for other cases."""
    network = Network(seed, EVENTS + rows, burst=rows)
    return [fact for fact in network.facts if fact.fate != "refused"]


async def run(seed: int, rows: int, url: str, folder: Path) -> list[str]:
    """Runs it; returns what is wrong in the end."""
    facts = history(seed, rows)
    oracle = Oracle(facts, exactly=True)
    (folder / "history.jsonl").write_bytes(lines(facts))
    place = Place(folder, "--database", url, PROJECTOR_PROJECTIONS="*")
    await place.ok("init")
    field = Field(place, SECONDS_MAX)
    async with Watch(url) as watch, probing(url) as probe:
        try:
            await _through(field, watch, folder)
        finally:
            await field.stop()
        print(f"looked {probe.looks} times", flush=True)
    wrong = [*await oracle.verdict(url), *probe.complaints]
    if rows >= KILLED_ROWS_MIN and not field.members["daemon"].fired:
        wrong.append("the daemon was not killed: nobody saw it at the account's rows")
    return wrong


async def _through(field: Field, watch: Watch, folder: Path) -> None:
    begun = time.monotonic()
    field.start("ingest", "ingest", f"file:{folder / 'history.jsonl'}", ends=True)
    await field.until_ended("ingest")
    _say(begun, f"the log has {await watch.head():,} events")
    field.start("daemon", "run")

    async def is_removing() -> bool:
        # Of few rows it may be over before anybody looks.
        return bool(await watch.count(REMOVING)) or await watch.is_caught_up()

    await field.until(is_removing)
    if await watch.count(REMOVING):
        field.kill("daemon")
        _say(begun, "killed while the account's rows were taken out")
    await field.until(watch.is_caught_up)
    _say(begun, f"caught up; {len(field.members['daemon'].fired)} kills")


def _say(begun: float, what: str) -> None:
    print(f"{time.monotonic() - begun:6.1f} s  {what}", flush=True)


async def main() -> int:
    """Parses the command line and does it."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.vast", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the account [1,000,000]")
    given = parser.parse_args()
    end_in_order()
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            wrong = await run(given.seed, given.rows, server.url(), Path(folder))
        finally:
            server.stop("immediate")
    print("\n".join(wrong) or "the log is the history, and every table its final state")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
