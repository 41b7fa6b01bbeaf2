"""The whole pipeline under random kills and faults for some minutes, and then the verdict.

    python -m ops.soak --minutes 60 --seed 1

A websocket host → Redis → log → two daemons, each a process of its own, with a rebuild, a heal or
an archive now and then. What the network says, what befalls whom and when is drawn from the seed
(how far the processes have come by then is not). It ends with what the oracle of the tests says of
the log and of every table. Exit code 1 where anything is wrong, or where a kind of fault never
came.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

from projector.embedded_postgres import EmbeddedPostgres
from tests.simulator.case import CURSORS, SMALL
from tests.simulator.facts import Fact
from tests.simulator.field import Field
from tests.simulator.network import Network
from tests.simulator.oracle import Oracle
from tests.simulator.points import POINTS
from tests.simulator.probe import Probe, probing
from tests.simulator.works import Works
from tests.support.cli import Place
from tests.support.jetstream_server import Fault, JetstreamServer
from tests.support.own_server import kill_postmaster, make_database, own_server
from tests.support.redis_server import RedisServer, redis_binaries
from tests.support.watch import Watch

STREAM = "soak"
EVENTS_PER_SECOND = 60
PAUSE_SECONDS = (1.0, 5.0)
SETTINGS = {
    **SMALL,
    "PROJECTOR_PARTITION_EVENTS": "2000",
    "PROJECTOR_STREAM_ENTRIES_MAX": "2000",
    "PROJECTOR_AUDIT_ACCOUNTS_PER_SECOND": "20",
}
PROCESSES = {"feed": "feed", "tail": "tail", "daemon": "daemon", "rival": "daemon"}
"""The processes, and of which kind of process the crash points are that they may be killed at."""
WORKS = ("rebuild", "heal", "archive_all", "replay")


class Soak:
    """One soak: the servers, the processes, and what befalls them."""

    def __init__(self, seed: int, minutes: float) -> None:
        self.rng = random.Random(f"soak {seed}")
        facts = Network(seed, int(minutes * 60 * EVENTS_PER_SECOND), accounts=60).facts
        while facts[-1].what in ("garbage", "unknown"):
            facts.pop()
        self.facts: list[Fact] = facts
        self.seconds = minutes * 60
        self.faults: Counter[str] = Counter()
        self.begun = time.monotonic()
        self.served = 0

    async def run(self) -> list[str]:
        """Runs it; returns what is wrong in the end."""
        async with AsyncExitStack() as stack:
            self.server: EmbeddedPostgres = stack.enter_context(own_server())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="soak")))
            binary = next(iter(redis_binaries().values()))
            self.redis = await stack.enter_async_context(RedisServer(binary, folder / "redis"))
            self.host = await stack.enter_async_context(JetstreamServer())
            url = await make_database(self.server, "soak")
            self.watch = await stack.enter_async_context(Watch(url))
            place = Place(folder, "--database", url, **SETTINGS)
            await place.ok("init")
            self.oracle = Oracle(self.facts, exactly=False)
            self.works = Works(place, self.watch, self.oracle)
            self.field = Field(place)
            stack.push_async_callback(self.field.stop)
            async with probing(url, whole_log=False) as probe:
                self._start()
                await self._soak(probe)
                await self._settle()
            self.works.read_archive()
            return [*await self.oracle.verdict(url), *probe.complaints]

    def _start(self) -> None:
        stream = f"{self.redis.url}?stream={STREAM}"
        self.field.start("feed", "ingest", f"{self.host.url}?cursor=1", "--to", stream)
        self.field.start("tail", "ingest", stream)
        self.field.start("daemon", "run")
        self.field.start("rival", "run")

    async def _soak(self, probe: Probe) -> None:
        said, strike_at = 0.0, 5.0
        while (now := time.monotonic() - self.begun) < self.seconds:
            self._serve(int(len(self.facts) * now / self.seconds))
            self.field.look()
            if now > strike_at:
                await self._strike()
                strike_at = time.monotonic() - self.begun + self.rng.uniform(*PAUSE_SECONDS)
            if now > said:
                said += 15
                print(f"{now:6.0f} s  sent {self.served:,}, logged {await self.watch.head():,}, "
                      f"looked {probe.looks:,} times, wrong: {probe.complaints or 'nothing'}; "
                      f"{dict(sorted(self.faults.items()))}", flush=True)  # fmt: skip
            await asyncio.sleep(0.02)

    def _serve(self, through: int) -> None:
        self.host.append(*(fact.line() for fact in self.facts[self.served : through]))
        self.served = max(self.served, through)

    async def _strike(self) -> None:
        """One thing goes wrong, or an operator does something."""
        kinds = {"kill": 8, "point": 6, "work": 4, "paused": 3, "backend": 3, "cut": 3,
                 "rewind": 3, "postgres": 2, "postmaster": 1, "redis": 2, "stalled": 2}  # fmt: skip
        kind = self.rng.choices(list(kinds), list(kinds.values()))[0]
        if await getattr(self, f"_{kind}")():
            self.faults[kind] += 1

    async def _kill(self) -> bool:
        return self.field.kill(self.rng.choice(list(self.field.members)))

    async def _point(self) -> bool:
        """Killed now, and once more at a named point of its next life."""
        name = self.rng.choice(list(PROCESSES))
        points = [(p, x.hits) for p, x in POINTS.items() if x.process == PROCESSES[name]]
        point, hits = self.rng.choice(points)
        member = self.field.members[name]
        if member.arms or not self.field.kill(name):
            return False
        member.arms.append(f"{point}:{self.rng.randint(1, hits)}")
        return True

    async def _work(self) -> bool:
        name = self.rng.choice(WORKS)
        there = self.field.members.get(name)
        if there is not None and not there.has_ended:
            return False
        self.field.start(name, *await self.works.prepare(name), ends=True)
        self.faults[name] += 1
        return True

    async def _paused(self) -> bool:
        """Stopped past its lease, and woken: it believes to be the owner still."""
        member = self.field.members[self.rng.choice(("daemon", "rival", "tail"))]
        if member.running is None or not member.running.is_running:
            return False
        member.running.send(signal.SIGSTOP)
        await asyncio.sleep(self.rng.uniform(1.5, 3.0))
        member.running.send(signal.SIGCONT)
        return True

    async def _backend(self) -> bool:
        ended = await self.watch.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'projector/%' ORDER BY random() LIMIT 2"
        )
        return bool(ended)

    async def _cut(self) -> bool:
        was = len(self.host.connections)
        self.host.faults += [Fault()] * (was - len(self.host.faults))
        self.host.faults.append(Fault(after=self.rng.randrange(1, 50), end="abort"))
        self.host.drop_all()
        return True

    async def _rewind(self) -> bool:
        was = len(self.host.connections)
        self.host.faults += [Fault()] * (was - len(self.host.faults))
        self.host.faults.append(Fault(ignore_cursor=self.rng.randrange(20, 400)))
        self.host.drop_all()
        return True

    async def _postgres(self) -> bool:
        how = self.rng.choice(("fast", "immediate"))
        await asyncio.to_thread(self.server.stop, how)
        await asyncio.to_thread(self.server.start)
        return True

    async def _postmaster(self) -> bool:
        await kill_postmaster(self.server)
        return True

    async def _redis(self) -> bool:
        await self.redis.restart()
        return True

    async def _stalled(self) -> bool:
        self.redis.pause()
        await asyncio.sleep(self.rng.uniform(1.0, 6.0))
        self.redis.resume()
        return True

    async def _settle(self) -> None:
        """Nothing goes wrong any more: all comes to rest."""
        self._serve(len(self.facts))
        for member in self.field.members.values():
            self.faults["killed"] += len(member.fired)
        works = [n for n in self.field.members if n not in PROCESSES]
        await self.field.until_ended(*works)
        await self.field.until(self._is_drained)
        await self.field.until(self.watch.is_caught_up)
        for member in self.field.members.values():
            member.arms.clear()
        for name in ("feed", "tail", "rival", "daemon"):
            await self.field.finish(name, self._is_there)

    async def _is_there(self, pid: int) -> bool:
        return pid > 0

    async def _is_drained(self) -> bool:
        keys = await self.redis.run("KEYS", f"{STREAM}:cursor:*")
        if not keys or int(await self.redis.run("GET", keys[0])) < self.facts[-1].time_us:
            return False
        facts = await self.redis.run("XINFO", "STREAM", STREAM)
        told = dict(zip(facts[::2], facts[1::2], strict=True))
        return bool(await self.watch.count(CURSORS, told[b"last-generated-id"].decode()))


async def main() -> int:
    """Parses the command line and does it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    soak = Soak(given.seed, given.minutes)
    complaints = await soak.run()
    print(f"{len(soak.facts):,} events; {dict(sorted(soak.faults.items()))}")
    for complaint in complaints:
        print(f"WRONG: {complaint}")
    print("The oracle finds nothing wrong." if not complaints else f"Seed {given.seed} fails.")
    return 1 if complaints else 0


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
