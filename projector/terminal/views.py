"""What the terminal draws: the state of the status page, from an observer here or from a daemon."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from events.tasks import end
from projector.errors import CannotConnect
from projector.facts import LetterFacts
from projector.observer import Observer
from projector.samples import SAMPLES_MAX, Sample
from projector.state import State, state_of

T = TypeVar("T")

ANSWER_SECONDS_MAX: Final = 5.0
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class View:
    """One look: the state, the newest dead letters, and the samples of the hour as far as known."""

    state: State
    letters: Sequence[LetterFacts]
    samples: Sequence[Sample]


@asynccontextmanager
async def observed(observer: Observer) -> AsyncIterator[AsyncIterator[View]]:
    """Views of our own looks at the database, as long as it is entered."""
    looking = asyncio.create_task(observer.run(), name="observer")
    try:
        yield _looks(observer)
    finally:
        await observer.close()
        await end(looking)


async def _looks(observer: Observer) -> AsyncIterator[View]:
    look = 0
    while not observer.is_closed:
        look = await observer.after(look)
        letters = observer.latest.letters if observer.latest else []
        yield View(state_of(observer), letters, list(observer.samples.kept))


async def paged(url: str, token: str) -> AsyncIterator[View]:
    """Views of what a daemon's page tells, which knows more: what it has applied itself.

    Raises `CannotConnect` where it does not answer at first; later the last view says so.
    """
    page = _Page(url, token)
    samples = deque(await page.ask("samples", list[Sample]), maxlen=SAMPLES_MAX)
    state, letters = await page.ask("state", State), await page.ask("letters", list[LetterFacts])
    while True:
        if state.sample is not None and (not samples or samples[-1].at < state.sample.at):
            samples.append(state.sample)
        yield View(state, letters, list(samples))
        await asyncio.sleep(state.every_seconds)
        try:
            state = await page.ask("state", State)
            letters = await page.ask("letters", list[LetterFacts])
        except CannotConnect as error:
            state = msgspec.structs.replace(state, sentence=f"{error}.", level="bad")


class _Page:
    """A page that is asked over HTTP."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}

    async def ask(self, name: str, kind: type[T]) -> T:
        """What it tells under a name. Raises `CannotConnect`."""
        try:
            return msgspec.json.decode(await asyncio.to_thread(self._ask, name), type=kind)
        except (OSError, ValueError) as error:
            raise CannotConnect(
                f"the page at {self._url} does not answer as one: {error}: projector status"
            ) from error

    def _ask(self, name: str) -> bytes:
        request = urllib.request.Request(f"{self._url}/{name}", headers=self._headers)
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS_MAX) as reply:
            return bytes(reply.read(ANSWER_BYTES_MAX))
