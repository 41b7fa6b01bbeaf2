"""One history, given to the whole pipeline as real processes, and what faults may do to it."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import asyncpg
from redis.exceptions import RedisError

from tests.simulator.case import CURSORS, SMALL
from tests.simulator.facts import Fact
from tests.simulator.faults.fault import Unfired
from tests.simulator.faults.servers import Servers
from tests.simulator.field import Failed, Field
from tests.simulator.oracle import Oracle
from tests.simulator.probe import Probe, probing
from tests.support.cli import Place, Running
from tests.support.harness import until
from tests.support.jetstream_server import JetstreamServer
from tests.support.watch import Watch

SETTINGS = {
    **SMALL,
    "PROJECTOR_AUDIT_ACCOUNTS_PER_SECOND": "20",
    "PROJECTOR_BACKOFF_SECONDS_MAX": "1",
    "PROJECTOR_COMMAND_TIMEOUT_SECONDS": "3",
    "PROJECTOR_RECENT_EVENTS": "1000000",
    "PROJECTOR_SILENT_SECONDS": "4",
    "PROJECTOR_STREAM_ENTRIES_MAX": "2000",
}
AWAY = (OSError, RedisError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError,
        asyncpg.InternalClientError, asyncpg.OperatorInterventionError,
        asyncpg.InsufficientResourcesError, asyncpg.PostgresSystemError)  # fmt: skip
"""What a server says that is away, or in trouble, for a while."""
SEEN_SECONDS_MAX = 240.0
AWAY_SECONDS_MAX = 2 * SEEN_SECONDS_MAX
"""How long a server may be away: until that is seen, and until it has recovered."""
TEND_SECONDS = 0.05
SETTLE_SECONDS_MAX = 200.0
STREAM = "firehose"
CLOCK = Path(__file__).parent / "clock"
PROCESSES = ("feed", "tail", "daemon", "rival")

Mark = dict[Path, int]


class Recorded(Place):
    """A place that remembers what it started."""

    def __init__(self, folder: Path, *common: str, **variables: str) -> None:
        super().__init__(folder, *common, **variables)
        self.started: list[Running] = []

    def start(self, *words: str, env: Any = None) -> Running:
        running = super().start(*words, env=env)
        self.started = [each for each in self.started if each.is_running] + [running]
        return running


class World:
    """A websocket host → Redis → log → two daemons, while it is entered.

    `served` of the facts have been sent. `over` is set when all has come to rest.
    """

    def __init__(
        self,
        servers: Servers,
        name: str,
        facts: Sequence[Fact],
        rng: random.Random,
        *,
        is_clocked: bool = False,
        whole_log: bool = True,
        settings: Mapping[str, str] = SETTINGS,
    ) -> None:
        self.servers = servers
        self.name = name
        self.facts = facts
        self.rng = rng
        self.folder = servers.folder / name
        self.clock = self.folder / "clock"
        self.url = servers.url(name)
        self.oracle = Oracle(facts, exactly=False)
        self.served = 0
        self.over = asyncio.Event()
        self.whole_log = whole_log
        variables = dict(settings)
        if is_clocked:
            path = os.pathsep.join([str(CLOCK), os.environ.get("PYTHONPATH", "")])
            variables |= {"PYTHONPATH": path, "CLOCK_FILE": str(self.clock)}
        url = servers.program_url(name)
        self.place = Recorded(self.folder, "--database", url, **variables)
        self.field = Field(self.place)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.folder.mkdir()
        # Not flushed: a part of the append-only file would bring back what was there before.
        await self.servers.redis.restart(with_data=False)
        await self.servers.make_database(self.name)
        self.host = await self._stack.enter_async_context(JetstreamServer())
        self.watch = await self._stack.enter_async_context(
            Watch(self.url, away_seconds_max=AWAY_SECONDS_MAX)
        )
        self._stack.push_async_callback(self.field.stop)
        looking = probing(self.url, whole_log=self.whole_log)
        self.probe: Probe = await self._stack.enter_async_context(looking)
        self._start()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._stack.aclose()

    def _start(self) -> None:
        stream = f"redis://127.0.0.1:{self.servers.to_redis.port}/0?stream={STREAM}"
        self.field.start("feed", "ingest", f"{self.host.url}?cursor=1", "--to", stream)
        self.field.start("tail", "ingest", stream)
        self.field.start("daemon", "run")
        self.field.start("rival", "run")

    def serve(self, through: int) -> None:
        """Sends the facts up to that one."""
        self.host.append(*(fact.line() for fact in self.facts[self.served : through]))
        self.served = max(self.served, through)

    async def tend(self, due: Callable[[], int]) -> None:
        """Sends the facts that are due, and starts again who was killed, until cancelled."""
        while True:
            self.field.look()
            self.serve(due())
            await asyncio.sleep(TEND_SECONDS)

    # What was seen, and heard.

    def mark(self) -> Mark:
        """Now, in what the processes say."""
        return {run.log: run.log.stat().st_size for run in self.place.started}

    def news(self, mark: Mark) -> str:
        """What the processes have said since."""
        found = []
        for log in {*mark, *(run.log for run in self.place.started)}:
            with log.open() as file:
                file.seek(mark.get(log, 0))
                found.append(file.read())
        return "\n".join(found)

    async def hear(self, mark: Mark, *texts: str, seconds: float = SEEN_SECONDS_MAX) -> str:
        """Waits until a process has said one of the texts; returns it. Raises `Unfired`."""

        async def heard() -> list[str]:
            news = self.news(mark)
            return [text for text in texts if text in news]

        found = await self.see(f"nobody said any of {texts}", heard, seconds)
        return f"a process said {found[0]!r}"

    async def see(
        self,
        complaint: str,
        condition: Callable[[], Awaitable[Any]],
        seconds: float = SEEN_SECONDS_MAX,
    ) -> Any:
        """Waits for something; returns what it is. Raises `Unfired`."""
        deadline = time.monotonic() + seconds
        while not (found := await condition()):
            if time.monotonic() > deadline:
                raise Unfired(complaint)
            await asyncio.sleep(TEND_SECONDS)
        return found

    # Whom faults work through.

    async def stranger(self) -> asyncpg.Connection:
        """A connection of somebody else, whom no timeout of ours holds back."""
        return await asyncpg.connect(self.url, server_settings={"application_name": "stranger"})

    async def redis(self, *words: str | int) -> Any:
        """A command to Redis, through every outage."""
        replies: list[Any] = []

        async def answered() -> bool:
            try:
                replies.append(await self.servers.redis.run(*words))
            except AWAY:
                return False
            return True

        await until(answered, seconds=60)
        return replies[0]

    async def feed_at(self) -> int:
        """The cursor that the feed has saved in Redis; 0: none."""
        for key in await self.redis("KEYS", f"{STREAM}:cursor:*"):
            return int(await self.redis("GET", key) or 0)
        return 0

    # How it ends.

    async def is_drained(self) -> bool:
        """Whether all that was sent is in the log."""
        if await self.feed_at() < self.facts[-1].time_us:
            return False
        facts = await self.redis("XINFO", "STREAM", STREAM)
        told = dict(zip(facts[::2], facts[1::2], strict=True))
        return bool(await self.watch.count(CURSORS, told[b"last-generated-id"].decode()))

    async def settle(self, seconds: float = SETTLE_SECONDS_MAX) -> None:
        """Waits until all that was sent is in log, tables and counts. Others look after the
        processes."""
        try:
            await self.see("it does not end", self.is_drained, seconds)
            await self.see("it does not end", self.watch.is_caught_up, seconds)
        except Unfired:
            raise Failed(f"it does not come to rest: {await self.standing()}") from None

    async def standing(self) -> str:
        """What is known of who does not come to rest."""
        facts = {
            "sent": self.facts[self.served - 1].time_us,
            "fed": await self.feed_at(),
            "cursors": await self.watch.rows("SELECT source, cursor FROM projector.source_cursor"),
            "checkpoints": await self.watch.rows(
                "SELECT projection, log_offset, head FROM projector.checkpoint, projector.log_head"
            ),
        }
        told = {name: self.field.members[name].running for name in PROCESSES}
        said = {name: running.said[-1500:] for name, running in told.items() if running}
        return f"{facts}; {said}"

    async def end(self) -> list[str]:
        """Tells every process to end; what is wrong then."""
        for name in PROCESSES:
            await self.field.finish(name, self._is_there)
        complaints = await self.oracle.verdict(self.url)
        return [*complaints, *self.probe.complaints]

    async def _is_there(self, pid: int) -> bool:
        return pid > 0


def whole_facts(facts: Sequence[Fact]) -> list[Fact]:
    """The facts up to the last one that has a time, by which one knows that all have come."""
    last = max(n for n, fact in enumerate(facts) if fact.what not in ("garbage", "unknown"))
    return list(facts[: last + 1])
