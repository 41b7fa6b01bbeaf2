"""`make sweep`: every crash point singly, then random pairs, all from a seed.

Each case is a history of its own seed. Where a kill never happened, since what a point is about was
not in the history at that time, another history, or pair, is drawn in its place; how often that was
is said, and after a few of them the case has failed. What has passed is kept in build/, so that a
sweep of the same seed goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from tests.simulator.case import Arm
from tests.simulator.ground import LIVE_PROCESSES, Ground, own_ground
from tests.simulator.points import POINTS
from tests.simulator.scorecard import Done, Journal, page

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "ops" / "SWEEP.md"
PAIRED = (("ingest", "daemon"), ("ingest", "ingest"), ("daemon", "daemon"), ("daemon", "rival"),
          ("feed", "tail"), ("feed", "daemon"), ("tail", "tail"), ("tail", "daemon"))  # fmt: skip
COMMANDS = tuple(dict.fromkeys(
    point.process for point in POINTS.values() if point.process not in LIVE_PROCESSES
))  # fmt: skip
DRAWS_MAX = 6
DONE_SEED = 7
"""The history of those cases in which commands are killed after all has come: it is run once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A case: its history's seed, the kills, and whether commands run while events arrive."""

    seed: int
    arms: tuple[Arm, ...]
    arriving: bool

    def __str__(self) -> str:
        when = ", while events arrive" if self.arriving else ""
        return f"seed {self.seed}: {' and '.join(map(str, self.arms))}{when}"


def plan(rng: random.Random, arms: tuple[Arm, ...], *, arriving: bool) -> Plan:
    """A case, of a random history where it is not one that has come before."""
    is_live = arriving or any(arm.process in LIVE_PROCESSES for arm in arms)
    beside = is_live and any(arm.process in COMMANDS for arm in arms)
    return Plan(rng.randrange(1, 1_000) if is_live else DONE_SEED, arms, beside)


def singles(seed: int) -> Iterator[Plan]:
    """Every point: at its first hit, and where it is hit often, at a later one; those of commands
    both while events arrive and afterwards."""
    for name, point in POINTS.items():
        rng = random.Random(f"single {seed} {name}")
        for hit in sorted({1, rng.randint(1, point.hits)}):
            for arriving in (True, False) if point.process in COMMANDS else (False,):
                yield plan(rng, (Arm(point.process, name, hit),), arriving=arriving)


def draw(rng: random.Random) -> Plan:
    """A random pair: of the live path, of a command and the live path, of one process twice."""
    what = rng.random()
    if what < 0.5:
        processes = rng.choice(PAIRED)
    elif what < 0.85:
        processes = (rng.choice(COMMANDS), rng.choice(("ingest", "daemon")))
    else:
        processes = (rng.choice([p.process for p in POINTS.values()]),) * 2
    arriving = rng.random() < 0.5
    return plan(rng, tuple(_arm(rng, process) for process in processes), arriving=arriving)


def pairs_of(rng: random.Random) -> Iterator[Plan]:
    """Random pairs without an end."""
    while True:
        yield draw(rng)


def others(one: Plan) -> Iterator[Plan]:
    """The same kills in this history, then in others."""
    yield one
    rng = random.Random(str(one))
    while True:
        yield replace(one, seed=rng.randrange(1, 1_000))


def _arm(rng: random.Random, process: str) -> Arm:
    of = "daemon" if process == "rival" else process
    name = rng.choice([name for name, point in POINTS.items() if point.process == of])
    return Arm(process, name, rng.randint(1, max(1, POINTS[name].hits // 2)))


class Sweep:
    """Runs cases, so many at once; each is the same whatever runs beside it."""

    def __init__(self, ground: Ground, journal: Journal, jobs: int) -> None:
        self.ground = ground
        self.journal = journal
        self.lanes = asyncio.Semaphore(jobs)
        self.begun = time.monotonic()
        self.ended = 0
        self.planned = 0

    async def run(self, singly: list[Plan], rngs: dict[str, random.Random]) -> list[Done]:
        """All cases, those singly first, in their order."""
        self.planned = len(singly) + len(rngs)
        alone = [self._case(str(one), others(one)) for one in singly]
        pairs = [self._case(key, pairs_of(rng)) for key, rng in rngs.items()]
        return await asyncio.gather(*alone, *pairs)

    async def _case(self, key: str, plans: Iterator[Plan]) -> Done:
        """The first of the plans of which all kills happened; or the last of a few."""
        async with self.lanes:
            if known := self._known(key):
                return known
            drawn = 1
            done = await self._try(key, next(plans))
            while done.unfired and not done.complaints and drawn < DRAWS_MAX:
                drawn += 1
                done = await self._try(key, next(plans))
            return self._keep(msgspec.structs.replace(done, drawn=drawn))

    def _known(self, key: str) -> Done | None:
        self.ended += key in self.journal.done
        return self.journal.done.get(key)

    async def _try(self, key: str, one: Plan) -> Done:
        begun = time.monotonic()
        result = await self.ground.run(one.seed, one.arms, arriving=one.arriving)
        met = [arm.point for arm in one.arms]
        seconds = round(time.monotonic() - begun, 1)
        return Done(
            key=key, text=str(one), met=met, complaints=result.complaints,
            unfired=result.unfired, looks=result.looks, seconds=seconds,
        )  # fmt: skip

    def _keep(self, done: Done) -> Done:
        self.journal.add(done)
        self.ended += 1
        minutes = (time.monotonic() - self.begun) / 60
        print(
            f"{self.ended:4}/{self.planned} {minutes:5.1f} min {done.seconds:6.1f} s  "
            f"{done.text}: {done.verdict}",
            flush=True,
        )
        return done


async def main() -> int:
    """Parses the command line and does it; 1 where anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulator.sweep", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=200, help="how many random pairs [200]")
    parser.add_argument("--jobs", type=int, default=2, help="how many cases at once [2]")
    parser.add_argument("--only", help="only a pair, as pair 7, or cases with this text")
    parser.add_argument("--fresh", action="store_true", help="do not go on with what is in build/")
    given = parser.parse_args()
    only = given.only or ""
    singly = [one for one in singles(given.seed) if only in str(one)]
    keys = [f"pair {n}" for n in range(1, given.pairs + 1)]
    rngs = {key: random.Random(f"{key} of {given.seed}") for key in keys if only in ("", key)}
    name = f"sweep-{given.seed}{'-only' if only else ''}.jsonl"
    journal = Journal(ROOT / "build" / name, fresh=given.fresh or bool(only))
    async with own_ground() as ground:
        cases = await Sweep(ground, journal, given.jobs).run(singly, rngs)
    failed = [case for case in cases if not case.has_passed]
    print("\n".join([*(f"FAILED {case.text}: {case.verdict}" for case in failed),
                     f"{len(failed)} of {len(cases)} cases failed"]))  # fmt: skip
    if not only:
        CARD.write_text(page(cases, given.seed, f"{datetime.now(UTC):%Y-%m-%d}"))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
