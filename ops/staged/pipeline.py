"""A whole pipeline on scratch servers: a host that speaks, ingest, two daemons, a status page."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from events.event import Event
from events.generate import Generator
from events.jetstream_wire import encode
from events.tasks import end
from tests.simulator.faults.servers import ROLE, Servers, servers
from tests.simulator.faults.world import AWAY
from tests.support.cli import Place, Running
from tests.support.engine import DECLARATIONS
from tests.support.harness import until
from tests.support.jetstream_server import JetstreamServer
from tests.support.served import Served, served_by
from tests.support.watch import Watch

EVENTS_PER_SECOND: Final = 60
BEAT_SECONDS: Final = 0.25
EVENTS_MIN: Final = 1_500
"""So many events are there before anything fails: with fewer the log's growth is not known."""

SETTINGS: Final = {
    "PROJECTOR_AUDIT_ACCOUNTS_PER_SECOND": "200",
    "PROJECTOR_BACKOFF_SECONDS_MAX": "1",
    "PROJECTOR_COMMAND_TIMEOUT_SECONDS": "20",
}
PAGE: Final = {"PROJECTOR_STATUS_LISTEN": "127.0.0.1:0", "PROJECTOR_STATUS_SECONDS": "0.5"}
OTHERS: Final = tuple(d.name for d in DECLARATIONS if d.name != "like")
"""What the daemon with the page runs; the other runs `like`."""


@dataclass
class Pipeline:
    """What runs. While it `speaks`, the host says events, as of now; `witness` is another host,
    which says the same, and goes on where `host` `loses` those of a collection.
    """

    at: Servers
    name: str
    place: Place
    host: JetstreamServer
    witness: JetstreamServer
    watch: Watch
    processes: dict[str, Running] = field(default_factory=dict)
    page: Served = field(default_factory=lambda: Served(""))
    speaks: bool = True
    loses: str = ""
    made: Iterator[Event] = field(default_factory=lambda: iter(Generator(seed=7, accounts=300)))

    def say(self, *events: Event) -> None:
        """Something happens on the network, now."""
        now_us = time.time_ns() // 1000
        moved = [msgspec.structs.replace(e, time_us=now_us + i) for i, e in enumerate(events)]
        self.witness.append(*map(encode, moved))
        self.host.append(*(encode(e) for e in moved if e.collection != self.loses))

    async def speak(self) -> None:
        """The host's life, until cancelled."""
        while True:
            if self.speaks:
                count = int(EVENTS_PER_SECOND * BEAT_SECONDS)
                self.say(*(next(self.made) for _ in range(count)))
            await asyncio.sleep(BEAT_SECONDS)

    def start(self, name: str, *words: str, **env: str) -> Running:
        """Starts a process of the pipeline."""
        self.processes[name] = self.place.start(*words, env=env)
        return self.processes[name]

    async def end(self, *names: str) -> None:
        """Kills processes."""
        for name in names:
            self.processes[name].kill()
            await self.processes.pop(name).code()

    async def stop(self) -> None:
        """Kills what still runs."""
        await self.end(*self.processes)

    async def told(self) -> dict[str, Any]:
        """What the page shows now."""
        state: dict[str, Any] = (await self.page.get("/state")).json
        return state

    async def until_told(self, *texts: str, seconds: float = 60.0) -> str:
        """Waits until the page's sentence has these texts in it; returns it."""
        said = [""]

        async def has_all() -> bool:
            said[0] = (await self.told())["sentence"]
            return all(text in said[0] for text in texts)

        try:
            await until(has_all, seconds=seconds)
        except TimeoutError:
            raise AssertionError(f"{texts} not said within {seconds:g} s: {said[0]}") from None
        return said[0]

    async def admin(self, *statements: str) -> None:
        """Runs statements as the superuser of this database."""
        for statement in statements:
            await self.at.admin(statement, self.name)

    async def redis(self, *words: str | int) -> Any:
        """A command to Redis, through every outage."""
        replies: list[Any] = []

        async def answered() -> bool:
            try:
                replies.append(await self.at.redis.run(*words))
            except AWAY:
                return False
            return True

        await until(answered, seconds=60)
        return replies[0]


@asynccontextmanager
async def pipeline(name: str = "staged") -> AsyncIterator[Pipeline]:
    """A pipeline that runs, and whose page says that all is well, while it is entered."""
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(servers(SETTINGS))
        # As an operator's monitoring has it: what others wait for, and where the data is.
        await at.admin(f"GRANT pg_monitor TO {ROLE}")
        await at.make_database(name)
        folder = at.folder / name
        folder.mkdir()
        place = Place(folder, "--database", at.program_url(name), **SETTINGS)
        host = await stack.enter_async_context(JetstreamServer())
        witness = await stack.enter_async_context(JetstreamServer())
        watch = await stack.enter_async_context(Watch(at.url(name)))
        made = Pipeline(at, name, place, host, witness, watch)
        stack.push_async_callback(made.stop)
        made.start("ingest", "ingest", f"{host.url}?cursor=1")
        made.start("other", "run", "like")
        made.page = await served_by(made.start("daemon", "run", *OTHERS, **PAGE))
        speaking = asyncio.create_task(made.speak())
        stack.push_async_callback(end, speaking)
        made.say(*(next(made.made) for _ in range(EVENTS_MIN)))
        await watch.until(watch.head, EVENTS_MIN)
        await made.until_told("All 6 projections are in step", "0 differences", seconds=240)
        yield made
