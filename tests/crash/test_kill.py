"""Any process is killed at any time, and the end is as if nothing had happened.

How often, and over how many events, is in the environment: PROJECTOR_KILLS and
PROJECTOR_KILL_EVENTS (50 and 1000000 make the full version), PROJECTOR_KILL_SEED.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from projector.embedded_postgres import EmbeddedPostgres
from tests.support.cli import Place, Running
from tests.support.harness import until
from tests.support.own_server import kill_postmaster, make_database, own_server
from tests.support.redis_server import RedisServer, redis_binaries, require_redis
from tests.support.watch import Watch

KILLS = int(os.environ.get("PROJECTOR_KILLS", "12"))
EVENTS = int(os.environ.get("PROJECTOR_KILL_EVENTS", "120000"))
SEED = int(os.environ.get("PROJECTOR_KILL_SEED", "1"))
SECONDS_MAX = 120 + EVENTS // 500 + 15 * KILLS

REDIS_KILLS = max(KILLS // 2, 1)
REDIS_EVENTS = EVENTS // 4

TABLES = 4
CANNOT_CONNECT = 3
TAKEN_OVER_SECONDS = 20
"""What "within seconds" may come to where two processors do all of this at once."""

BACKEND = """
SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'projector/%'
    AND datname = current_database() ORDER BY backend_start
"""


class Field:
    """The processes of one run, and how each of them is killed and started again."""

    def __init__(self, place: Place, watch: Watch, rng: random.Random) -> None:
        self.place = place
        self.watch = watch
        self.rng = rng
        self.commands: dict[str, list[str]] = {}
        self.running: dict[str, Running] = {}
        self.killed: Counter[str] = Counter()
        self.daemons: list[str] = []
        self.ends: set[str] = set()

    async def start(self, name: str, *words: str, ends: bool = False) -> None:
        """Starts a process; `ends`: it comes to an end of its own, and that is well."""
        self.commands[name] = list(words)
        if ends:
            self.ends.add(name)
        elif words[0] == "run":
            self.daemons.append(name)
        self.running[name] = self.place.start(*words)

    async def stop(self) -> None:
        """Ends whatever still runs."""
        for running in self.running.values():
            running.kill()
            await running.code()

    def check(self) -> None:
        """Nobody may have ended of its own, but one that had come to its end.

        One that came while the server was away ends as well, and is started again, as systemd
        would do; one that was under way has to wait for the server.
        """
        for name, running in list(self.running.items()):
            code = running.process.poll()
            if code == CANNOT_CONNECT and "projector: cannot connect to" in running.said:
                self.running[name] = self.place.start(*self.commands[name])
                continue
            assert code is None or (code == 0 and name in self.ends), f"{name}: {running.said}"

    async def kill(self, name: str) -> None:
        """Kills a process and starts it again."""
        running = self.running[name]
        if not running.is_running:
            return
        del self.running[name]
        running.kill()
        self.killed[name] += await running.code() == -signal.SIGKILL
        if len(self.daemons) > 1 and name in self.daemons and self.rng.random() < 0.5:
            await self.taken_over(name)
        self.running[name] = self.place.start(*self.commands[name])

    async def once_more(self, kill: Callable[[], Awaitable[None]]) -> None:
        """Kills until one more is dead: whom the seed chose may have ended already."""
        before = self.killed.total()
        while self.killed.total() == before:
            self.check()
            await kill()

    async def progressed(self, moment: int) -> None:
        """Waits until so much is done."""

        async def reached() -> bool:
            self.check()
            return await self.watch.progress() >= moment

        await until(reached, seconds=SECONDS_MAX)

    async def taken_over(self, name: str) -> None:
        """The other daemon takes all that the killed one had."""
        (other,) = (daemon for daemon in self.daemons if daemon != name)

        async def taken() -> bool:
            self.check()
            return await self.watch.owned_by(self.running[other].pid)

        await until(taken, seconds=TAKEN_OVER_SECONDS)

    async def finished(self, name: str) -> None:
        """Waits for a process that ends of its own."""

        async def ended() -> bool:
            self.check()
            return not self.running[name].is_running

        await until(ended, seconds=SECONDS_MAX)

    async def caught_up(self) -> None:
        """Waits until tables and counts have the whole log, and ends the daemons in good order."""

        async def done() -> bool:
            self.check()
            return await self.watch.is_caught_up()

        await until(done, seconds=SECONDS_MAX)
        for daemon in self.daemons:
            self.running[daemon].terminate()
        for daemon in self.daemons:
            code = await self.running[daemon].code()
            assert code == 0, self.running[daemon].said


def moments(rng: random.Random, kills: int, progress_max: int) -> list[int]:
    """When to kill, in progress; early enough that there is work left after the last one."""
    return sorted(rng.randrange(progress_max * 95 // 100) for _ in range(kills))


async def undisturbed(server: EmbeddedPostgres, folder: Path, source: str) -> dict[str, object]:
    """What the tables are when nobody kills anybody."""
    url = await make_database(server, "undisturbed")
    place = Place(folder, "--database", url)
    await place.ok("init")
    await place.ok("ingest", source, seconds=SECONDS_MAX)
    await place.ok("run", "--until-caught-up", seconds=SECONDS_MAX)
    async with Watch(url) as watch:
        return dict(await watch.fingerprints())


async def assert_as_if_nothing_had_happened(
    place: Place, watch: Watch, events: int, expected: dict[str, object]
) -> None:
    assert await watch.head() == events
    ((least, most, count),) = await watch.rows(
        "SELECT min(log_offset), max(log_offset), count(*) FROM projector.event_log"
    )
    assert (least, most, count) == (1, events, events)
    verdict = await place.json("verify")
    assert verdict["differences"] == []
    assert verdict["keys"] > 0
    found = await watch.fingerprints()
    assert {"follow", "duplicate_record", "profile_agg", "post_agg", "event_log"} <= found.keys()
    assert found == expected


async def kill_a_backend(watch: Watch, rng: random.Random) -> bool:
    """Kills one process of the server; then the server ends all others and recovers."""
    pids = [pid for (pid,) in await watch.rows(BACKEND)]
    if not pids:
        return False
    os.kill(rng.choice(pids), signal.SIGKILL)
    return True


@pytest.mark.timeout(SECONDS_MAX)
async def test_kill_any_process_at_any_time(tmp_path: Path) -> None:
    source = f"generate:events={EVENTS},seed=31,accounts=5000,duplicates=0.01,invalid=0.001"
    rng = random.Random(SEED)
    begun = time.monotonic()
    with own_server() as server:
        expected = await undisturbed(server, tmp_path, source)
        calm_seconds = time.monotonic() - begun
        url = await make_database(server, "disturbed")
        place = Place(tmp_path, "--database", url)
        await place.ok("init")
        async with AsyncExitStack() as stack:
            watch = await stack.enter_async_context(Watch(url))
            field = Field(place, watch, rng)
            stack.push_async_callback(field.stop)
            await field.start("ingest", "ingest", source, "--batch-events-max", "1000", ends=True)
            await field.start("daemon-1", "run", "--window-events-max", "2000")
            await field.start("daemon-2", "run", "--window-events-max", "3000")
            for moment in moments(rng, KILLS, EVENTS * (1 + TABLES)):
                await field.progressed(moment)
                await field.once_more(lambda: kill_somebody(field, server))
            await field.finished("ingest")
            await field.caught_up()
            assert field.killed.total() == KILLS
            await assert_as_if_nothing_had_happened(place, watch, EVENTS, expected)
    seconds = time.monotonic() - begun - calm_seconds
    print(f"{EVENTS:,} events, {KILLS} kills {dict(field.killed)}; {seconds:.0f} s disturbed, "
          f"{calm_seconds:.0f} s undisturbed; {expected}")  # fmt: skip


async def kill_somebody(field: Field, server: EmbeddedPostgres) -> None:
    """Kills whom the seed says: most often one of ours, now and then something of the server's."""
    who = field.rng.choice(
        ["ingest", "ingest", "daemon-1", "daemon-1", "daemon-2", "daemon-2",
         "backend", "server", "postmaster"]
    )  # fmt: skip
    if who == "backend" and await kill_a_backend(field.watch, field.rng):
        field.killed[who] += 1
    elif who == "server":
        await asyncio.to_thread(server.stop, "immediate")
        await asyncio.to_thread(server.start)
        field.killed[who] += 1
    elif who in ("postmaster", "backend"):
        await kill_postmaster(server)
        field.killed["postmaster"] += 1
    else:
        await field.kill(who)


async def kill_some_link(field: Field, redis: RedisServer) -> None:
    """Kills one of the chain: feed, stream, ingest, daemon."""
    who = field.rng.choice(["feed", "ingest", "daemon", "redis"])
    if who == "redis":
        await redis.restart()
        field.killed[who] += 1
    else:
        await field.kill(who)


@pytest.mark.timeout(SECONDS_MAX)
async def test_kill_any_process_with_a_stream_in_between(tmp_path: Path) -> None:
    require_redis()
    # Without duplicates: a stream may rewind, so what comes twice is left out of the log.
    source = f"generate:events={REDIS_EVENTS},seed=32,accounts=2000,invalid=0.001"
    rng = random.Random(SEED + 1)
    binary = next(iter(redis_binaries().values()))
    with own_server() as server:
        async with AsyncExitStack() as stack:
            redis = await stack.enter_async_context(RedisServer(binary, tmp_path / "redis"))
            url = await make_database(server, "disturbed")
            watch = await stack.enter_async_context(Watch(url))
            place = Place(tmp_path, "--database", url)
            await place.ok("init")
            field = Field(place, watch, rng)
            stack.push_async_callback(field.stop)
            stream = f"{redis.url}?stream=firehose_live"
            batches = ["--batch-events-max", "500"]
            bound = ["--stream-entries-max", "3000"]
            await field.start("feed", "ingest", source, "--to", stream, *bound, *batches, ends=True)
            await field.start("ingest", "ingest", stream, *batches)
            await field.start("daemon", "run", "--window-events-max", "2000")
            for moment in moments(rng, REDIS_KILLS, REDIS_EVENTS * (1 + TABLES)):
                await field.progressed(moment)
                await field.once_more(lambda: kill_some_link(field, redis))
            await field.finished("feed")
            await watch.until(watch.head, REDIS_EVENTS)
            await field.caught_up()
            assert field.killed.total() == REDIS_KILLS
            expected = await undisturbed(server, tmp_path, source)
            await assert_as_if_nothing_had_happened(place, watch, REDIS_EVENTS, expected)
