"""The whole pipeline under random kills and faults for some minutes, and then the verdict.

    python -m ops.soak --minutes 60 --seed 1

A websocket host → Redis → log → two daemons, each a process of its own, with a rebuild, a heal or
an archive now and then. Every fault that the sweep of faults knows comes in turn, in an order drawn
from the seed, and between them processes are killed anywhere or at named points (how far the
processes have come by then is not of the seed). It ends with what the oracle of the tests says of
the log and of every table. Exit code 1 where anything is wrong, or where a fault was not seen to
fire, three times one after the other; then the log and what the processes wrote are in build/soak.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from events.tasks import end
from tests.simulator.faults.case import fire
from tests.simulator.faults.fault import FAULTS, Unfired, usable
from tests.simulator.faults.servers import end_in_order, servers
from tests.simulator.faults.world import SETTINGS, World, whole_facts
from tests.simulator.field import Failed
from tests.simulator.network import Network
from tests.simulator.oracle import LOG
from tests.simulator.points import POINTS
from tests.simulator.works import Works

EVENTS_PER_SECOND = 40
"""Two thirds as many come a second time: what is read again of accounts that were removed."""
STEPS_US = (0, 1, 900, 1_000, 40_000, 108_099)
"""As many facts a second, on the average, as are sent: the network's clock goes as ours does. By as
much as they are apart the reader goes back with a host that seems to be behind: else it would be to
the beginning, each time, which of a long soak is too much."""
TRAILING_US = 45_000_000
"""So far behind ours the network's clock begins: now and then it is faster by a part of that."""
PAUSE_SECONDS = (0.5, 3.0)
SAY_SECONDS = 15.0
TRIES = 3
"""So many times, one after the other, a fault may befall and not be seen to fire, as when what it
is about is not going on just then; each of them is said in the end."""
LASTING_SECONDS = 15.0
"""How long a fault lasts that lasts, in the sweep, as long as its case."""
SETTLE_SECONDS_MAX = 1_200.0
"""How long what is under way in the end may take: a rebuild of all, on a busy machine."""
DISK_MIB = 3072
BEFORE_US = 20_000_000
SOAK = {
    **SETTINGS,
    "PROJECTOR_PARTITION_EVENTS": "2000",
    # By far more than any fault goes back, and so little that there is something to archive.
    "PROJECTOR_RECENT_EVENTS": "10000",
    # Live ones are small whatever this is; a rebuild of an hour's log in small ones takes another.
    "PROJECTOR_WINDOW_EVENTS_MAX": "4000",
}
PROCESSES = {"feed": "feed", "tail": "tail", "daemon": "daemon", "rival": "daemon"}
"""The processes, and of which kind of process the crash points are that they may be killed at."""
WORKS = ("rebuild", "heal", "archive_all", "replay")
OPERATE_SECONDS = 0.2
EVIDENCE = Path("build/soak")
LOGGED_US = """
SELECT coalesce((SELECT (extract(epoch FROM occurred_at) * 1000000)::bigint
    FROM projector.event_log ORDER BY log_offset DESC LIMIT 1), 1)
"""
"""When the log's last event was: of what the host says a second time no part may be left out."""


@dataclass
class Soak:
    """One soak: what befalls a world, and when."""

    world: World
    seconds: float
    begun: float = field(default_factory=time.monotonic)
    seen: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    unfired: list[str] = field(default_factory=list)
    doing: str = ""

    def __post_init__(self) -> None:
        self.rng = self.world.rng
        self.works = Works(self.world.place, self.world.watch, self.world.oracle)
        self.works.kept = ()
        self.kinds = self._kinds()
        self.world.field.retyped.update(WORKS)
        self.world.field.seconds_max = SETTLE_SECONDS_MAX

    @property
    def now(self) -> float:
        return time.monotonic() - self.begun

    def due(self) -> int:
        """How many of the facts have to be sent by now."""
        events = len(self.world.facts)
        return min(events, int(events * self.now / self.seconds))

    def complain(self, text: str) -> None:
        """Says what is wrong, at once: what comes after it may be of no use any more."""
        print(f"WRONG: {text}", flush=True)
        self.complaints.append(text)

    async def run(self) -> None:
        """Lets things go wrong until the time is over, and all come to rest."""
        tasks = [
            asyncio.create_task(self.world.tend(self.due)),
            asyncio.create_task(self._operate()),
            asyncio.create_task(self._say()),
        ]
        striking = asyncio.create_task(self._strike_on())
        try:
            await asyncio.wait((*tasks, striking), return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                if task.done():
                    task.result()
            striking.result()
        finally:
            await end(*tasks, striking)

    async def _strike_on(self) -> None:
        await self.world.watch.until(self.world.watch.tables_at, 1)
        while self.now < self.seconds:
            await self._strike(next(self.kinds))
            await asyncio.sleep(self.rng.uniform(*PAUSE_SECONDS))
        members = self.world.field.members
        for member in members.values():
            self.seen["killed"] += len(member.fired)
        await self.world.field.until_ended(*(name for name in members if name not in PROCESSES))
        await self.world.settle(SETTLE_SECONDS_MAX)
        for member in members.values():
            member.arms.clear()

    def _kinds(self) -> Iterator[str]:
        """All faults in random order, and again, with kills and works of operators in between."""
        while True:
            deck = [*usable(), *["point"] * 8, *["work"] * 8, *["process-killed"] * 3]
            self.rng.shuffle(deck)
            yield from deck

    async def _strike(self, kind: str) -> None:
        """One thing goes wrong, or an operator does something."""
        self.doing = kind
        print(f"{self.now:6.0f} s  {kind}, sent {self.world.served:,}", flush=True)
        if kind in ("point", "work"):
            done = await (self._point() if kind == "point" else self._work())
            self.seen[kind] += bool(done)
            return
        for attempt in range(1, TRIES + 1):
            self.world.over = asyncio.Event()
            if FAULTS[kind].whole:
                asyncio.get_running_loop().call_later(LASTING_SECONDS, self.world.over.set)
            try:
                await fire(self.world, FAULTS[kind])
            except Unfired as error:
                self.unfired.append(f"at {self.now:.0f} s {error}")
                if attempt == TRIES:
                    self.complain(str(error))
            else:
                self.seen[kind] += 1
                return

    async def _point(self) -> bool:
        """Killed now, and once more at a named point of its next life."""
        name = self.rng.choice(list(PROCESSES))
        points = [(p, x.hits) for p, x in POINTS.items() if x.process == PROCESSES[name]]
        point, hits = self.rng.choice(points)
        member = self.world.field.members[name]
        if member.arms or not self.world.field.kill(name):
            return False
        member.arms.append(f"{point}:{self.rng.randint(1, hits)}")
        return True

    async def _work(self) -> bool:
        name = self.rng.choice(WORKS)
        there = self.world.field.members.get(name)
        if there is not None and not there.has_ended:
            return False
        self.doing = name
        self.world.field.start(name, *await self.works.prepare(name), ends=True)
        self.seen[name] += 1
        return True

    async def _operate(self) -> None:
        """Does as the runbook says of a Redis that lost its data, with less to spare: who feeds it
        begins, where it knows no cursor, a little before the log's last event."""
        feed = self.world.field.members["feed"]
        while True:
            since_us = max(await self.world.watch.count(LOGGED_US) - BEFORE_US, 1)
            address = f"{self.world.host.url}?cursor={since_us}"
            feed.words = [feed.words[0], address, *feed.words[2:]]
            await asyncio.sleep(OPERATE_SECONDS)

    async def _say(self) -> None:
        while True:
            probe = self.world.probe
            print(f"{self.now:6.0f} s  sent {self.world.served:,}, logged"
                  f" {await self.world.watch.head():,}, looked {probe.looks:,} times, wrong:"
                  f" {[*self.complaints, *probe.complaints] or 'nothing'}; {self.seen.total()}"
                  f" faults and works, now {self.doing}", flush=True)  # fmt: skip
            await asyncio.sleep(SAY_SECONDS)


async def soaked(seed: int, minutes: float) -> Soak:
    """Runs a soak, which then says what was seen, and what is wrong."""
    rng = random.Random(f"soak {seed}")
    begin_us = time.time_ns() // 1_000 - TRAILING_US
    events = int(minutes * 60 * EVENTS_PER_SECOND)
    network = Network(seed, events, accounts=60, begin_us=begin_us, steps_us=STEPS_US)
    facts = whole_facts(network.facts)
    async with servers(SOAK, disk_mib=DISK_MIB) as at:
        world = World(at, "soak", facts, rng, is_clocked=True, whole_log=False, settings=SOAK)
        async with world:
            soak = Soak(world, minutes * 60)
            try:
                await soak.run()
                soak.works.read_archive()
                for complaint in await world.end():
                    soak.complain(complaint)
            except Failed as error:
                soak.complain(f"a process failed: {error}")
            except TimeoutError:
                soak.complain(f"{soak.doing} did not come to its end")
                soak.complain(await world.standing())
            if soak.complaints:
                await keep(world)
            return soak


async def keep(world: World) -> None:
    """Keeps what tells why something is wrong: the live log, the archive, what was printed."""
    shutil.rmtree(EVIDENCE, ignore_errors=True)
    shutil.copytree(world.folder, EVIDENCE)
    try:
        connection = await asyncpg.connect(world.url)
        try:
            await connection.copy_from_query(LOG, output=EVIDENCE / "log.csv", format="csv")
        finally:
            await connection.close()
    except (OSError, asyncpg.PostgresError) as error:
        print(f"The log is not kept: {error}")


async def main() -> int:
    """Parses the command line and does it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    end_in_order()
    soak = await soaked(given.seed, given.minutes)
    print(f"seen: {dict(sorted(soak.seen.items()))}")
    for unfired in soak.unfired:
        print(f"tried again: {unfired}")
    print("The oracle finds nothing wrong." if not soak.complaints else f"Seed {given.seed} fails.")
    return 1 if soak.complaints else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
