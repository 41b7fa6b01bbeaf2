"""One case: a history, the faults that befall it, and the oracle's verdict."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from events.tasks import end
from tests.simulator.faults import hosts, links, postgres, processes, streams
from tests.simulator.faults.fault import FAULTS, Fault, Unfired
from tests.simulator.faults.servers import Servers
from tests.simulator.faults.world import AWAY, TEND_SECONDS, World, whole_facts
from tests.simulator.field import Failed
from tests.simulator.network import Network

__all__ = ["Outcome", "fire", "hosts", "links", "postgres", "processes", "run_case", "streams"]

EVENTS = 600
SHARE_BEFORE = 0.35
"""What of the history has been sent when the faults begin."""
DRIP_SECONDS = 20.0
"""In so many seconds faults see all of the rest but for a third."""
LEAST_SECONDS = 3.0
"""How long a case goes on of which all faults last as long as it does."""
FIRE_SECONDS_MAX = 180.0


@dataclass
class Outcome:
    """How a case ended: what is wrong, which faults nobody saw, and how the others were seen."""

    faults: tuple[str, ...]
    seed: int
    complaints: list[str] = field(default_factory=list)
    unfired: list[str] = field(default_factory=list)
    proofs: dict[str, str] = field(default_factory=dict)
    looks: int = 0
    seconds: float = 0.0

    @property
    def is_good(self) -> bool:
        return not self.complaints and not self.unfired and self.looks > 0

    def __str__(self) -> str:
        verdict = "; ".join([*self.complaints, *self.unfired]) or "ok"
        return f"seed {self.seed}: {' and '.join(self.faults)}: {verdict}"


async def fire(world: World, fault: Fault) -> str:
    """Lets a fault befall the world, again where another one came in between; returns how it was
    seen. Raises `Unfired`."""
    deadline = time.monotonic() + FIRE_SECONDS_MAX
    while True:
        try:
            return await fault.act(world)
        except AWAY as error:
            if time.monotonic() > deadline:
                raise Unfired(f"{fault.name}: {error!r}") from error
            await asyncio.sleep(TEND_SECONDS)
        except Unfired as error:
            raise Unfired(f"{fault.name} was not seen: {error}") from error


class Drip:
    """How much of a history is due: a part at first, then ever less a second, at last all."""

    def __init__(self, events: int) -> None:
        self.events = events
        self.due = events * SHARE_BEFORE
        self.is_over = False

    def __call__(self) -> int:
        if self.is_over:
            return self.events
        now = math.floor(self.due)
        self.due += max((self.events - self.due) * TEND_SECONDS / DRIP_SECONDS, 0.1)
        return min(now, self.events)


async def run_case(servers: Servers, name: str, seed: int, faults: Sequence[str]) -> Outcome:
    """Runs one case in a database of its own."""
    begun = time.monotonic()
    outcome = Outcome(tuple(faults), seed)
    rng = random.Random(f"faults {seed} {faults}")
    facts = whole_facts(Network(seed, EVENTS).facts)
    is_clocked = "clock-jumps" in faults
    try:
        async with World(servers, name, facts, rng, is_clocked=is_clocked) as world:
            try:
                await _run(world, outcome)
                outcome.complaints += await world.end()
            finally:
                outcome.looks = world.probe.looks
    except (Failed, AssertionError, TimeoutError) as error:
        outcome.complaints.append(f"{type(error).__name__}: {error}")
    finally:
        await servers.started()
        await servers.admin(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    outcome.seconds = time.monotonic() - begun
    return outcome


async def _run(world: World, outcome: Outcome) -> None:
    drip = Drip(len(world.facts))
    tending = asyncio.create_task(world.tend(drip))
    working = asyncio.create_task(_befall(world, outcome, drip))
    try:
        await asyncio.wait((tending, working), return_when=asyncio.FIRST_COMPLETED)
        if tending.done():
            tending.result()
        working.result()
    finally:
        await end(tending, working)


async def _befall(world: World, outcome: Outcome, drip: Drip) -> None:
    await world.watch.until(world.watch.tables_at, len(world.facts) // 8)
    chosen = [FAULTS[name] for name in outcome.faults]
    lasting = [asyncio.create_task(_note(world, outcome, one)) for one in chosen if one.whole]
    try:
        short = [_note(world, outcome, one) for one in chosen if not one.whole]
        await asyncio.gather(*short or [asyncio.sleep(LEAST_SECONDS)])
        drip.is_over = True
        await world.settle()
        world.over.set()
        await asyncio.gather(*lasting)
    finally:
        await end(*lasting)


async def _note(world: World, outcome: Outcome, fault: Fault) -> None:
    await asyncio.sleep(world.rng.random())
    begun = time.monotonic()
    try:
        seen = await fire(world, fault)
        outcome.proofs[fault.name] = f"{seen}, after {time.monotonic() - begun:.1f} s"
    except Unfired as error:
        outcome.unfired.append(str(error))
