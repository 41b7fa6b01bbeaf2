"""One case: a history, the points at which processes are killed, and the oracle's verdict."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.simulator.delivery import lines, rewound
from tests.simulator.facts import Fact
from tests.simulator.field import Field
from tests.simulator.network import Network
from tests.simulator.oracle import Oracle
from tests.simulator.points import POINTS
from tests.simulator.probe import probing
from tests.simulator.works import AGAIN, Works
from tests.support.cli import Place
from tests.support.redis_server import RedisServer
from tests.support.watch import Watch

EVENTS = 500
LIVE = ("ingest", "daemon", "rival", "feed", "tail")
STREAMED = ("feed", "tail")
WORDS = {"archive": "archive_all"}
SMALL = {
    "PROJECTOR_PROJECTIONS": "*",
    "PROJECTOR_BATCH_EVENTS_MAX": "40",
    "PROJECTOR_PARTITION_EVENTS": "150",
    "PROJECTOR_RECENT_EVENTS": "10000",
    "PROJECTOR_WINDOW_EVENTS_MAX": "60",
    "PROJECTOR_WINDOW_EVENTS_MIN": "20",
    "PROJECTOR_LEASE_SECONDS": "1",
    "PROJECTOR_POLL_SECONDS": "0.2",
    "PROJECTOR_AUDIT_ACCOUNTS_PER_SECOND": "1000",
    "PROJECTOR_AUDIT_ACCOUNTS_MAX": "5",
    "PROJECTOR_REBUILD_SHARE": "1",
    "PROJECTOR_STREAM_ENTRIES_MAX": "200",
}
"""All projections; small batches, windows and partitions, so that a short history meets all of
their edges."""
OWNS = "SELECT EXISTS (SELECT FROM projector.lease WHERE split_part(owner, ':', 2)::int = $1)"
CURSORS = "SELECT count(*) FROM projector.source_cursor WHERE cursor = $1"


@dataclass(frozen=True, slots=True)
class Arm:
    """A process and the point at which it is killed, at which hit."""

    process: str
    point: str
    hit: int = 1

    def __str__(self) -> str:
        return f"{self.process} at {self.point}:{self.hit}"


@dataclass(frozen=True, slots=True)
class Result:
    """How a case ended: what is wrong, and which of its kills never happened."""

    complaints: list[str]
    unfired: list[str]
    looks: int = 0


def member_of(process: str) -> str:
    """The member of the field that a point's process is."""
    return "daemon" if process == "daemon-end" else process


class Case:
    """Runs a history through processes in a database that is there and initialised.

    `is_done`: the history was run already, undisturbed; only commands are killed. Else they run
    while the second half of it arrives.
    """

    def __init__(
        self,
        seed: int,
        arms: Sequence[Arm],
        folder: Path,
        url: str,
        redis: RedisServer | None = None,
        *,
        is_done: bool = False,
        rebuilt: Sequence[str] = ("--all",),
    ) -> None:
        self.arms: dict[str, list[str]] = defaultdict(list)
        for arm in arms:
            assert arm.point in POINTS, arm.point
            self.arms[member_of(arm.process)].append(f"{arm.point}:{arm.hit}")
        self.is_done = is_done
        self.streamed = any(name in STREAMED for name in self.arms)
        facts = Network(seed, EVENTS).facts
        # What a stream is given twice stays out of the log, so there the facts are what is right.
        self.delivered = facts if self.streamed else rewound(facts, seed)
        self.oracle = Oracle(facts, self.delivered, exactly=not self.streamed)
        self.folder = folder
        self.place = Place(folder, "--database", url, **SMALL)
        self.watch = Watch(url)
        self.works = Works(self.place, self.watch, self.oracle)
        self.works.rebuilt = rebuilt
        self.redis = redis
        self.url = url

    async def run(self) -> Result:
        """Runs it to its end. Raises `Failed` where a process ends as it must not."""
        whole_log = not {"archive", "restore", "forget-archived"} & self.arms.keys()
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.watch)
            field = Field(self.place)
            stack.push_async_callback(field.stop)
            async with probing(self.url, whole_log=whole_log) as probe:
                if not self.is_done:
                    await self._live(field)
                await self._commands(field)
            self.works.read_archive()
            complaints = [*await self.oracle.verdict(self.url), *probe.complaints]
            unfired = [f"{m.name} at {arm}" for m in field.members.values() for arm in m.arms]
            return Result(complaints, unfired, probe.looks)

    async def _live(self, field: Field) -> None:
        """The history from its file into log and tables, perhaps with a command beside it."""
        beside = [name for name in self.arms if name not in LIVE]
        self._feed(field, self.delivered[: len(self.delivered) // 2] if beside else self.delivered)
        daemons = ["daemon", *(["rival"] if "rival" in self.arms else [])]
        for name in daemons:
            field.start(name, "run", arms=self.arms[name])
        if beside:
            await field.until_ended("ingest")
            for name in beside:
                await self._start(field, name)
            self.arms["ingest"] = list(field.members["ingest"].arms)
            self._feed(field, self.delivered)
        await field.until_ended(*beside, "feed" if self.streamed else "ingest")
        if self.streamed:
            await field.until(self._is_drained)
        await field.until(self.watch.is_caught_up)
        going = ["tail", *daemons] if self.streamed else daemons
        await field.until_fired(*going)
        await field.until(self.watch.is_caught_up)
        for name in reversed(going):
            await field.finish(name, self._owns)

    def _feed(self, field: Field, facts: Sequence[Fact]) -> None:
        source = self.folder / "history.jsonl"
        source.write_bytes(lines(facts))
        if not self.streamed:
            field.start("ingest", "ingest", f"file:{source}", arms=self.arms["ingest"], ends=True)
            return
        assert self.redis is not None
        stream = f"{self.redis.url}?stream={self.folder.name}"
        words = ("ingest", f"file:{source}", "--to", stream)
        field.start("feed", *words, arms=self.arms["feed"], ends=True)
        field.start("tail", "ingest", stream, arms=self.arms["tail"])

    async def _commands(self, field: Field) -> None:
        """Those that are killed when all else is done; what they leave to merge is merged."""
        names = [name for name in self.arms if name not in LIVE and name not in field.members]
        for name in names:
            await self._start(field, name)
            await field.until_ended(name)
        if names:
            await self.place.ok("run", "--until-caught-up")

    async def _start(self, field: Field, name: str) -> None:
        words = await field.meanwhile(self.works.prepare(WORDS.get(name, name)))
        again = AGAIN.get(name, ())
        field.start(name, *words, arms=self.arms[name], ends=True, again=again)

    async def _is_drained(self) -> bool:
        assert self.redis is not None
        facts = await self.redis.run("XINFO", "STREAM", self.folder.name)
        told = dict(zip(facts[::2], facts[1::2], strict=True))
        return bool(await self.watch.count(CURSORS, told[b"last-generated-id"].decode()))

    async def _owns(self, pid: int) -> bool:
        return bool(await self.watch.value(OWNS, pid))
