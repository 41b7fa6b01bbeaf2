"""Every fault singly, then random pairs of them at once; prints and writes the scorecard.

    python -m tests.simulator.faults --pairs 100 --seed 1 --card ops/FAULTS.md

Exit code 1 where anything is wrong in the end, or where a fault was not seen to fire.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.simulator.faults.card import Score, scorecard
from tests.simulator.faults.case import Outcome, run_case
from tests.simulator.faults.fault import FAULTS, usable
from tests.simulator.faults.servers import Servers, end_in_order, servers
from tests.simulator.faults.world import SETTINGS


def pairs(seed: int, count: int, names: list[str]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Random pairs, each with the seed of its history; none twice while there are others."""
    rng = random.Random(f"pairs of faults {seed}")
    all_pairs = list(itertools.combinations(names, 2))
    rng.shuffle(all_pairs)
    for pair in itertools.islice(itertools.cycle(all_pairs), count):
        yield rng.randrange(1, 1_000), pair


async def run(at: Servers, number: int, seed: int, faults: tuple[str, ...]) -> Outcome:
    """Runs one case, and says how it ended."""
    outcome = await run_case(at, f"faults_{number}", seed, faults)
    print(f"{outcome.seconds:5.1f} s  {outcome}", flush=True)
    for name, proof in outcome.proofs.items():
        print(f"         {name}: {proof}", flush=True)
    return outcome


async def sweep(given: argparse.Namespace, score: Score) -> None:
    """Runs all cases, one after the other, since each has the servers to itself."""
    begun = time.monotonic()
    names = [name for name in usable() if given.only in name]
    if left_out := sorted(FAULTS.keys() - usable()):
        print(f"only root can do these, which mount a disk: {', '.join(left_out)}", flush=True)
    numbers = itertools.count(1)
    rng = random.Random(f"faults {given.seed}")
    single = [] if given.only_pairs else names
    drawn = itertools.islice(pairs(given.seed, given.pairs, names), given.skip, None)
    async with servers(SETTINGS) as at:
        for name in single:
            score.single.append(await run(at, next(numbers), rng.randrange(1, 1_000), (name,)))
        for seed, pair in drawn:
            score.pairs.append(await run(at, next(numbers), seed, pair))
            score.seconds = time.monotonic() - begun
            if given.card is not None:
                given.card.write_text(scorecard(score, given.seed))
    score.seconds = time.monotonic() - begun


async def main() -> int:
    """Parses the command line and does it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--skip", type=int, default=0, help="pairs to leave out, from the first")
    parser.add_argument("--only", default="", help="faults whose names have this in them")
    parser.add_argument("--only-pairs", action="store_true")
    parser.add_argument("--card", type=Path, help="where the scorecard is written")
    given = parser.parse_args()
    end_in_order()
    score = Score()
    await sweep(given, score)
    print(f"{len(score.failed)} of {len(score.cases)} cases failed")
    if given.card is not None:
        given.card.write_text(scorecard(score, given.seed))
    return 1 if score.failed else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
