"""The processes of one case: started, killed at named points, started again, until all is done."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from events.tasks import end
from tests.support.cli import Place, Running
from tests.support.harness import until

T = TypeVar("T")

CRASH_AT = "PROJECTOR_CRASH_AT"
CANNOT_CONNECT = 3
CHECK_FAILED = 1
BEHIND = "let it catch up"
"""What `forget` says where a projector is not there: an operator types it again."""
HELD = 6
SECONDS_MAX = 240.0
RETYPED_SECONDS = 2.0
"""How long nobody types a command again that found a server away: to start it costs more than a
processor has while it recovers. Or one that lost what it had: who looks in the log where to begin
looks when the log has what its reader had taken."""
ARMED_SECONDS_MAX = 15.0
"""How long a point is waited for that has yet to be hit, once all else is done."""


class Failed(Exception):
    """A process ended as it must not."""


@dataclass
class Member:
    """One process: what it runs, and at which points, one after the other, it is to be killed.

    `ends`: it comes to an end of its own; else it is told to. `again` is what is run once it was
    killed, where that is another command.
    """

    name: str
    words: Sequence[str]
    arms: deque[str] = field(default_factory=deque)
    ends: bool = False
    again: Sequence[str] = ()
    running: Running | None = None
    fired: list[str] = field(default_factory=list)
    is_doomed: bool = False
    due: float = 0.0
    has_ended: bool = False

    @property
    def pid(self) -> int:
        return self.running.pid if self.running else 0


class Field:
    """Runs members side by side.

    `excuses`: a member that ends because something is held by another, and says this, is started
    again, a little later. `retyped`: commands that are typed again, a little later, whenever a
    server was away.
    Nothing is waited for longer than `seconds_max`.
    """

    def __init__(self, place: Place, seconds_max: float = SECONDS_MAX) -> None:
        self.place = place
        self.seconds_max = seconds_max
        self.members: dict[str, Member] = {}
        self.excuses: dict[str, str] = {}
        self.retyped: set[str] = set()

    def start(
        self,
        name: str,
        *words: str,
        arms: Iterable[str] = (),
        ends: bool = False,
        again: Sequence[str] = (),
    ) -> Member:
        """Starts a process, armed with the first of its points."""
        member = Member(name, words, deque(arms), ends, again)
        self.members[name] = member
        self._launch(member)
        return member

    def _launch(self, member: Member) -> None:
        env = {CRASH_AT: member.arms[0]} if member.arms else None
        words = (member.fired and member.again) or member.words
        member.running = self.place.start(*words, env=env)

    def look(self) -> None:
        """Starts again who was killed. Raises `Failed` when one ended otherwise."""
        for member in self.members.values():
            running = member.running
            if running is None and time.monotonic() >= member.due:
                self._launch(member)
            code = None if running is None or member.has_ended else running.process.poll()
            if code is not None:
                self._ended(member, code)

    def _ended(self, member: Member, code: int) -> None:
        running = member.running
        assert running is not None
        if code == -signal.SIGKILL and (member.arms or member.is_doomed):
            member.fired.append("somewhere" if member.is_doomed else member.arms.popleft())
            member.is_doomed = False
            self._launch(member)
        elif self._is_excused(member.name, code, running.said):
            if member.name in self.retyped or code == HELD:
                member.running, member.due = None, time.monotonic() + RETYPED_SECONDS
            else:
                self._launch(member)
        elif code == 0 and member.ends:
            member.has_ended = True
        else:
            raise Failed(f"{member.name} ended with {code}: {running.said[-2000:]}")

    def _is_excused(self, name: str, code: int, said: str) -> bool:
        if code == CHECK_FAILED:
            return BEHIND in said
        if code == HELD:
            return name in self.excuses and self.excuses[name] in said
        told = "projector: " in said if name in self.retyped else "cannot connect" in said
        return code == CANNOT_CONNECT and told

    def kill(self, name: str) -> bool:
        """Kills a process, wherever it is; whether it was there to be killed."""
        member = self.members[name]
        if member.has_ended or member.running is None or not member.running.is_running:
            return False
        member.is_doomed = True
        member.running.kill()
        return True

    async def until(self, done: Callable[[], Awaitable[object]]) -> None:
        """Waits for something, while whoever dies is started again."""

        async def reached() -> object:
            self.look()
            return await done()

        await until(reached, seconds=self.seconds_max)

    async def meanwhile(self, work: Coroutine[Any, Any, T]) -> T:
        """Does some work, while whoever dies is started again."""
        task = asyncio.create_task(work)

        async def is_done() -> bool:
            return task.done()

        try:
            await self.until(is_done)
        finally:
            await end(task)
        return task.result()

    async def until_ended(self, *names: str) -> None:
        """Waits for processes that end of their own."""

        async def ended() -> bool:
            return all(self.members[name].has_ended for name in names)

        await self.until(ended)

    async def until_fired(self, *names: str) -> None:
        """Waits, for a while, until members have been killed at all of their points but those that
        are met only on their way out."""
        deadline = time.monotonic() + ARMED_SECONDS_MAX

        async def fired() -> bool:
            armed = [arm for name in names for arm in self.members[name].arms]
            return not any(is_early(arm) for arm in armed) or time.monotonic() > deadline

        await self.until(fired)

    async def finish(self, name: str, owns: Callable[[int], Awaitable[bool]]) -> None:
        """Tells a process to end, as often as a point on its way out kills it. `owns` says whether
        a process holds a lease, and so is well under way."""
        member = self.members[name]

        async def is_there() -> bool:
            return member.running is not None

        while not member.has_ended:
            await self.until(is_there)
            assert member.running is not None
            if member.arms:
                await self.until(lambda: owns(member.pid))
            member.running.terminate()
            code = await member.running.code()
            # Told before it could listen, it had nothing to finish.
            if code in (0, -signal.SIGTERM):
                member.has_ended = True
            else:
                self._ended(member, code)

    async def stop(self) -> None:
        """Ends whatever still runs."""
        for member in self.members.values():
            if member.running is not None:
                member.running.kill()
                await member.running.code()


LATE = ("lease.released",)


def is_early(arm: str) -> bool:
    """Whether a point is met while all goes on, and not only at the end."""
    return arm.partition(":")[0] not in LATE
