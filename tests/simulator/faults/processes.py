"""Faults of the program's own processes, and of their clocks."""

from __future__ import annotations

import asyncio
import signal

from tests.simulator.faults.fault import Disturbed, fault
from tests.simulator.faults.world import PROCESSES, World

TAKEN = ("was taken by another", "another daemon applied the window")
DISOWN = "DELETE FROM projector.lease WHERE name LIKE 'projection %'"
DAYS = 86_400
BACK_DAYS, AHEAD_DAYS = 1_500, 1_000
"""Back to before what the simulated network says, and ahead of every real clock."""


@fault(
    "process-killed", does="a process is killed (SIGKILL), wherever it is",
    seen="its exit by the signal; another is started", holds="it goes on where it was",
)  # fmt: skip
async def process_killed(world: World) -> str:
    name = world.rng.choice(PROCESSES)
    member = world.field.members[name]
    pid, fired = member.pid, len(member.fired)
    if not world.field.kill(name):
        raise Disturbed(f"{name} was not there")

    async def again() -> bool:
        return len(member.fired) > fired and member.pid != pid

    await world.see(f"{name} did not end", again)
    return f"{name} ended by the signal, and was started again"


@fault(
    "daemon-paused",
    does="a daemon that owns projections is stopped (SIGSTOP) past its leases, and woken",
    seen="the leases have another owner; the woken one says that they were taken",
    holds="no window is applied twice, by whichever of them",
)
async def daemon_paused(world: World) -> str:
    pids = set((await world.watch.owners()).values())
    owners = [m for name, m in world.field.members.items() if name in PROCESSES and m.pid in pids]
    if not owners:
        await asyncio.sleep(0.1)
        raise Disturbed("nobody owns anything")
    member = world.rng.choice(owners)
    running, mark = member.running, world.mark()
    assert running is not None

    async def taken() -> bool:
        if not running.is_running:
            raise Disturbed(f"{member.name} was killed")
        owned = set((await world.watch.owners()).values())
        return bool(owned) and running.pid not in owned

    running.send(signal.SIGSTOP)
    try:
        await world.see("nobody took the leases", taken)
    finally:
        running.send(signal.SIGCONT)
    return f"{member.name} lost its leases; {await world.hear(mark, *TAKEN)}"


@fault(
    "two-owners",
    does="leases are deleted under their owner, again and again: another takes them, and the first"
    " goes on",
    seen="one of the two says that the other applied its window",
    holds="one of two windows commits, the other leaves no trace",
)
async def two_owners(world: World) -> str:
    mark = world.mark()

    async def met() -> bool:
        await world.watch.execute(DISOWN)
        await asyncio.sleep(0.2)
        return TAKEN[1] in world.news(mark)

    await world.see("the two never met", met)
    return f"a process said {TAKEN[1]!r}"


def _set_clock(world: World, days: int) -> None:
    new = world.clock.with_suffix(".new")
    new.write_text(str(days * DAYS))
    new.replace(world.clock)


@fault(
    "clock-jumps",
    does=f"the wall clock of all processes jumps {BACK_DAYS} days back, {AHEAD_DAYS} ahead, and to"
    " where it was",
    seen="a process noted each of the jumps; the reader says that the host is ahead of its clock",
    holds="the cursor is neither moved to the future nor lost",
)
async def clock_jumps(world: World) -> str:
    mark, seen = world.mark(), world.clock.with_suffix(".seen")
    heard = ""
    try:
        for days in (-BACK_DAYS, AHEAD_DAYS, 0):
            _set_clock(world, days)

            async def noted(text: str = f" {days * DAYS}\n") -> bool:
                return seen.exists() and text in seen.read_text()

            await world.see(f"nobody saw the clock jump by {days} days", noted)
            if days < 0:
                heard = await world.hear(mark, "ahead of our clock")
    finally:
        _set_clock(world, 0)
    return f"three jumps; {heard}"
