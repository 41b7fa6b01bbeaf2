"""A loader: a process beside a rebuild's own that loads windows of the log.

The rebuild tells it on its standard input what to load, a line of JSON for each window, and reads
what came of it from its standard output. It ends when its input does, be it that the rebuild was
killed; what it then has in work is rolled back, or is committed and noted as loaded.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from io import RawIOBase
from typing import Final

import msgspec
import uvloop

from projector import shadow
from projector.database import Database, one_line
from projector.declare import Projection
from projector.errors import LoaderEnded
from projector.home import Home
from projector.loading import STRANDS, Place, Strand, Work
from projector.memory import collect_rarely
from projector.registry import installed
from projector.settings import Settings, cores

LINE_BYTES_MAX: Final = 1024 * 1024
END_SECONDS_MAX: Final = 5.0
LONG_EVENTS_MIN: Final = 200_000
"""From how many offsets on a second process, which takes half a second to start, is worth it."""


class Task(msgspec.Struct, frozen=True):
    """The first line: what is to be loaded into where. It is not to be seen by others, as
    arguments are: the URL may have a password."""

    url: str
    command_timeout_seconds: float
    settings: dict[str, str]
    targets: dict[str, Target]
    bytes_max: int


class Target(msgspec.Struct, frozen=True):
    """A shadow, and the digest of the declaration it is built from."""

    home: Home
    fingerprint: str


class Answer(msgspec.Struct, frozen=True):
    """What came of a window: how many events it had, or an error."""

    after: int
    through: int
    events: int = 0
    error: str = ""


class Loader:
    """A loader process, as its rebuild sees it; one that cannot start fails with the first window.

    Raises `LoaderEnded` where it has an error, or is no more.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._waiting: dict[tuple[int, int], asyncio.Future[int]] = {}
        self._answers = asyncio.create_task(self._listen())

    @classmethod
    async def start(
        cls, database: Database, targets: Mapping[str, tuple[Projection, Home]], bytes_max: int
    ) -> Loader:
        """Starts the process."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "projector.loader", stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, limit=LINE_BYTES_MAX, start_new_session=True,
        )  # fmt: skip
        loader = cls(process)
        task = Task(
            database.url, database.command_timeout_seconds, database.settings,
            {n: Target(home, shadow.fingerprint(p)) for n, (p, home) in targets.items()}, bytes_max,
        )  # fmt: skip
        loader._tell(task)
        return loader

    def _tell(self, what: Task | Work) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(what) + b"\n")

    async def load(self, work: Work) -> int:
        """Has a window loaded; returns how many events it had for somebody."""
        if self._answers.done():
            raise LoaderEnded(self._epitaph())
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[work.after, work.through] = answer
        self._tell(work)
        return await answer

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            answer = msgspec.json.decode(line, type=Answer)
            waiting = self._waiting.pop((answer.after, answer.through))
            if answer.error and not waiting.done():
                waiting.set_exception(LoaderEnded(answer.error))
            elif not waiting.done():
                waiting.set_result(answer.events)
        await self._process.wait()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(LoaderEnded(self._epitaph()))

    def _epitaph(self) -> str:
        return (
            f"a loader process ended with {self._process.returncode}; run the same command: it "
            "goes on where it was"
        )

    async def close(self) -> None:
        """Ends the process: softly, and after a while hard."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS_MAX)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._answers


@asynccontextmanager
async def strands(
    database: Database,
    settings: Settings,
    targets: Mapping[str, tuple[Projection, Home]],
    offsets: int,
) -> AsyncIterator[list[Place]]:
    """Where so many offsets are loaded: this process, and for a long log others beside it.

    Only what is installed can be loaded elsewhere.
    """
    processes = settings.rebuild_processes
    if not processes:
        processes = cores(settings) if offsets >= LONG_EVENTS_MIN else 1
    known = {id(declaration) for declaration in installed()}
    beside = processes - 1 if known.issuperset(id(p) for p, _ in targets.values()) else 0
    bytes_max = settings.reader_bytes_max
    places: list[Place] = [Strand(database, targets, bytes_max) for _ in range(STRANDS)]
    try:
        for _ in range(beside):
            loader = await Loader.start(database, targets, bytes_max)
            places += [loader] * STRANDS
        yield places
    finally:
        for place in dict.fromkeys(places):
            await place.close()


async def _serve() -> None:
    """Loads what it is told to until the input ends."""
    # What a declaration's own code may print is no answer.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    lines = asyncio.StreamReader(LINE_BYTES_MAX)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    task = msgspec.json.decode(await lines.readline(), type=Task)
    database = Database(task.url, task.command_timeout_seconds, settings=task.settings)
    targets = _targets(task.targets)
    free: asyncio.Queue[Strand] = asyncio.Queue()
    for _ in range(STRANDS):
        free.put_nowait(Strand(database, targets, task.bytes_max))
    working = set()
    while line := await lines.readline():
        work = msgspec.json.decode(line, type=Work)
        working.add(asyncio.create_task(_load(free, work, answers)))
    # The rebuild is through, or is no more: nobody waits for what is still in work.
    while not free.empty():
        await free.get_nowait().close()
    os._exit(0)


async def _load(free: asyncio.Queue[Strand], work: Work, answers: RawIOBase) -> None:
    strand = await free.get()
    try:
        answer = Answer(work.after, work.through, await strand.load(work))
    except Exception as error:
        error_text = f"loading from offset {work.after}: {one_line(error)}"
        answer = Answer(work.after, work.through, error=error_text)
    free.put_nowait(strand)
    answers.write(msgspec.json.encode(answer) + b"\n")


def _targets(wanted: Mapping[str, Target]) -> dict[str, tuple[Projection, Home]]:
    known = {d.name: d for d in installed() if isinstance(d, Projection)}
    found = {}
    for name, target in wanted.items():
        if shadow.fingerprint(known[name]) != target.fingerprint:
            raise SystemExit(f"the declaration of {name} has changed since the rebuild began")
        found[name] = (known[name], target.home)
    return found


if __name__ == "__main__":
    collect_rarely()
    uvloop.run(_serve())
