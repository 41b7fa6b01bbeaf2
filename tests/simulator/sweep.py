"""`make sweep`: every crash point singly, then random pairs; prints and writes the scorecard.

Each case is a history of its own seed. A kill that never happened fails its case; of a pair it
means that another pair is drawn in its place, and how often that was is said.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulator.case import Arm, Result
from tests.simulator.ground import LIVE_PROCESSES, Ground, own_ground
from tests.simulator.points import POINTS

PAIRED = (("ingest", "daemon"), ("ingest", "ingest"), ("daemon", "daemon"), ("daemon", "rival"),
          ("feed", "tail"), ("feed", "daemon"), ("tail", "tail"), ("tail", "daemon"))  # fmt: skip
BESIDE = ("rebuild", "archive", "heal", "as-of")
"""The commands that may be killed while the daemon is."""
DRAWS_MAX = 6


@dataclass
class Score:
    """What came of the cases."""

    single: list[tuple[str, Result, float]] = field(default_factory=list)
    pairs: list[tuple[str, Result, float]] = field(default_factory=list)
    redrawn: int = 0
    seconds: float = 0.0

    @property
    def failed(self) -> list[tuple[str, Result, float]]:
        return [x for x in (*self.single, *self.pairs) if x[1].complaints or x[1].unfired]


def singles(rng: random.Random) -> Iterator[tuple[int, tuple[Arm, ...]]]:
    """Every point: at its first hit, and where it is hit often, at a later one."""
    for name, point in POINTS.items():
        for hit in sorted({1, rng.randint(1, point.hits)}):
            yield (
                rng.randrange(1, 1_000) if point.process in LIVE_PROCESSES else 7,
                (Arm(point.process, name, hit),),
            )


def draw(rng: random.Random) -> tuple[int, tuple[Arm, ...]]:
    """A random pair: two processes, or the same one twice."""
    what = rng.random()
    if what < 0.6:
        processes = rng.choice(PAIRED)
    elif what < 0.8:
        processes = (rng.choice(BESIDE), rng.choice(("ingest", "daemon")))
    else:
        processes = (rng.choice([p.process for p in POINTS.values()]),) * 2
    arms = tuple(_arm(rng, process) for process in processes)
    is_live = any(process in LIVE_PROCESSES for process in processes)
    return (rng.randrange(1, 1_000) if is_live else 7), arms


def _arm(rng: random.Random, process: str) -> Arm:
    of = "daemon" if process == "rival" else process
    name = rng.choice([name for name, point in POINTS.items() if point.process == of])
    return Arm(process, name, rng.randint(1, max(1, POINTS[name].hits // 2)))


def described(seed: int, arms: tuple[Arm, ...]) -> str:
    return f"seed {seed}: " + " and ".join(map(str, arms))


async def sweep(ground: Ground, seed: int, pairs: int, jobs: int, *, alone: bool = True) -> Score:
    """Runs all cases, so many at once; each by itself is the same whatever runs beside it."""
    begun = time.monotonic()
    score = Score()
    lanes = asyncio.Semaphore(jobs)

    async def single(case: tuple[int, tuple[Arm, ...]]) -> None:
        async with lanes:
            score.single.append(await _run(ground, *case))

    async def pair(rng: random.Random) -> None:
        async with lanes:
            for _ in range(DRAWS_MAX):
                done = await _run(ground, *draw(rng))
                if done[1].complaints or not done[1].unfired:
                    break
                score.redrawn += 1
            score.pairs.append(done)

    cases = list(singles(random.Random(f"singles {seed}"))) if alone else []
    rngs = [random.Random(f"pair {seed} {n}") for n in range(pairs)]
    await asyncio.gather(*map(single, cases), *map(pair, rngs))
    score.seconds = time.monotonic() - begun
    return score


async def _run(ground: Ground, seed: int, arms: tuple[Arm, ...]) -> tuple[str, Result, float]:
    begun = time.monotonic()
    result = await ground.run(seed, arms)
    seconds = time.monotonic() - begun
    verdict = "; ".join(result.complaints) or (f"UNFIRED {result.unfired}" if result.unfired
                                               else "ok")  # fmt: skip
    print(f"{seconds:5.1f} s  {described(seed, arms)}: {verdict}", flush=True)
    return described(seed, arms), result, seconds


def scorecard(score: Score, seed: int) -> str:
    """The scorecard as a page."""
    cases = [*score.single, *score.pairs]
    met = Counter(text.split(" at ")[1].partition(":")[0] for text, *_ in score.single)
    looks = sum(result.looks for _, result, _ in cases)
    lines = [
        "# Crash points: the scorecard",
        "",
        "Made by `make sweep`; a case is repeated by its seed and points. In each, a history of the"
        " simulator with every awkward order and with rewinds runs through real processes, which"
        " are killed by SIGKILL at the points and started again; in the end the log is compared"
        " with the history and all tables with its final state, and all the while another"
        " connection looks whether every counter is exact and the log without a gap.",
        "",
        f"- Seed {seed}; {len(POINTS)} points, {len(met)} of them singly in {len(score.single)}"
        f" cases; {len(score.pairs)} random pairs ({score.redrawn} drawn again, since one of the"
        " two kills never came).",
        f"- {len(cases) - len(score.failed)} of {len(cases)} cases passed, every kill of them seen"
        f" to happen; {looks:,} looks from outside; {score.seconds / 60:.0f} minutes.",
        "",
        "| point | killed | what recovery must do |",
        "|---|---|---|",
        *(f"| `{name}` | {p.process} | {p.recovery} |" for name, p in POINTS.items()),
    ]
    if score.failed:
        lines += ["", "## Failed", ""]
        lines += [
            f"- {text}: {'; '.join(r.complaints) or r.unfired}" for text, r, _ in score.failed
        ]
    lines += ["", "## Pairs", "", *(f"- {text}" for text, *_ in score.pairs)]
    return "\n".join(lines) + "\n"


async def main() -> int:
    """Parses the command line and does it; 1 where anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=2, help="how many cases at once")
    parser.add_argument("--only-pairs", action="store_true")
    parser.add_argument("--card", type=Path, help="where the scorecard is written")
    given = parser.parse_args()
    async with own_ground() as ground:
        score = await sweep(ground, given.seed, given.pairs, given.jobs, alone=not given.only_pairs)
    print(f"{len(score.failed)} of {len(score.single) + len(score.pairs)} cases failed")
    if given.card is not None:
        given.card.write_text(scorecard(score, given.seed))
    return 1 if score.failed else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
