"""Makes something fail in a whole pipeline on scratch servers, and shows what the page says of it.

    python -m ops.stage postgres-slow --keep

Without a name it lists the failures. It starts servers and processes of its own, lets them run
until all is well, makes the failure, waits until the status page names it, and prints the page's
sentence and its address. With --keep all stays as it is until Ctrl-C, to be looked at.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time

from ops.staged.failures import FAILURES, Failure
from ops.staged.pipeline import pipeline
from tests.simulator.faults.servers import end_in_order


async def staged(failure: Failure, *, keep: bool) -> None:
    """Stages one failure."""
    print("Starting servers and processes, until all is well …", flush=True)
    async with pipeline() as pipe:
        print(f"{pipe.page.url}\n{(await pipe.told())['sentence']}\n", flush=True)
        begun = time.monotonic()
        print(f"Now: {failure.what}", flush=True)
        async with failure.act(pipe):
            sentence = await pipe.until_told(*failure.says)
            print(f"After {time.monotonic() - begun:.0f} s the page says:\n\n{sentence}\n")
            if keep:
                print(f"{pipe.page.url} shows it until Ctrl-C.", flush=True)
                await asyncio.Event().wait()


async def main() -> int:
    """Parses the command line and does it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", nargs="?", choices=list(FAILURES))
    parser.add_argument("--keep", action="store_true", help="leave it up until Ctrl-C")
    given = parser.parse_args()
    if given.name is None:
        for failure in FAILURES.values():
            print(f"{failure.name:20}{failure.what}")
        return 0
    failure = FAILURES[given.name]
    if failure.needs_root and os.geteuid() != 0:
        print(f"{failure.name} mounts a small disk: run it as root.")
        return 2
    end_in_order()
    await staged(failure, keep=given.keep)
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(asyncio.run(main()))
    except KeyboardInterrupt:
        raise SystemExit(0) from None
