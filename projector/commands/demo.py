"""`demo`: a firehose of made-up events into exact tables, to be watched."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Final

from projector.aggregate import audit, audited_keys
from projector.commands.up import Run, everything, started
from projector.declare import Aggregate
from projector.environment import COMMON, Common, declared
from projector.errors import CheckFailed
from projector.ingest import read_log_head
from projector.output import console, print_json

FOLDER: Final = Path("projector-demo")

VERDICT: Final = """
[bold green]exact[/]: {counters} counters of {keys:,} keys, every one equal to count(*) of its rows.
{speed}

What happened: made-up events went into the event log; projectors folded them window by window into
tables of posts, follows, likes and all else that an AppView reads; others turned the row changes
into counts and notifications; each transaction moved its own checkpoint. Then every count was
compared with its rows in one snapshot.

Where to look next
  where everything is:                  {program} status --data-dir {folder}
  the invalid records among them, kept: {program} dead-letters list --data-dir {folder}
  the real firehose, into a new folder: {program} up jetstream
  the tables, by any SQL client:        {url}
"""


async def demo(*, events: int = 200_000, seed: int = 1, common: Common = COMMON) -> None:
    """Project a generated firehose, watch it, and prove the counts; in a folder of its own.

    Parameters
    ----------
    events
        How many events to make up.
    seed
        Another seed makes another firehose, and adds it to what is there.
    """
    common = replace(common, data_dir=common.data_dir or FOLDER)
    source = f"generate:events={events},seed={seed}"
    async with started(common, source, redis_buffer=False, until_caught_up=True) as (run, stop):
        before = await read_log_head(run.database)
        begun = time.monotonic()
        if await everything(run, stop):
            seconds = time.monotonic() - begun
            await _prove(run, await read_log_head(run.database) - before, seconds)


async def _prove(run: Run, events: int, seconds: float) -> None:
    aggregates = [d for d in declared() if isinstance(d, Aggregate)]
    connection = await run.database.connect("verify")
    try:
        differences = await audit(connection, aggregates, run.settings.schema)
        keys = await audited_keys(connection, aggregates, run.settings.schema)
    finally:
        await connection.close()
    if differences:
        raise CheckFailed("counters differ from their rows; `projector verify` names them")
    counters = sum(len(aggregate.counters) for aggregate in aggregates)
    if run.json:
        print_json({"events": events, "seconds": seconds, "counters": counters, "keys": keys})
        return
    if events:
        speed = f"{events:,} events in {seconds:.1f} s, from source to counts: "
        speed += f"{events / seconds:,.0f} a second."
    else:
        speed = f"Nothing new: {run.folder} has this firehose already; --seed 2 adds another."
    program = Path(sys.argv[0])
    console.print(
        VERDICT.format(
            counters=counters, keys=keys, speed=speed, folder=run.folder, url=run.database.url,
            program=program if ".venv" in program.parts else program.name,
        ),
        soft_wrap=True,
    )  # fmt: skip
