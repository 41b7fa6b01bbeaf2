"""What the status page shows, as JSON: the last observation, its sentence, and what this process
knows of itself."""

from __future__ import annotations

import os
import socket
import time
from typing import Final

import msgspec

from projector import __version__
from projector.disk import DiskFacts
from projector.facts import LogFacts, RedisFacts
from projector.movers import Mover
from projector.observer import Observation, Observer
from projector.samples import Sample
from projector.status import Status
from projector.troubles import EVENTS_MIN

MOVERS_MAX: Final = 8

DAY_SECONDS: Final = 86_400


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """What the log takes a day at the rate of the hour's samples; zero where nothing is known."""

    bytes_per_event: float
    events_per_second: float
    bytes_per_day: float


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that the page draws, but the hour of samples and the dead letters."""

    sentence: str
    level: str
    at: float
    age_seconds: float
    every_seconds: float
    version: str
    process: str
    up_seconds: float
    status: Status | None
    log: LogFacts | None
    disk: DiskFacts | None
    forecast: Forecast | None
    connections: dict[str, int]
    redis: list[RedisFacts]
    sample: Sample | None
    movers: list[Mover]
    movers_counter: str


def state_of(observer: Observer) -> State:
    """The state as of the last observation."""
    seen, kept = observer.latest, observer.samples.kept
    sentence, level = headline(observer)
    now = time.time()
    return State(
        sentence=sentence,
        level=level,
        at=seen.at if seen else 0.0,
        age_seconds=round(now - seen.at, 1) if seen else 0.0,
        every_seconds=observer.seconds,
        version=__version__,
        process=f"{socket.gethostname()}:{os.getpid()}",
        up_seconds=round(now - observer.begun_at, 1),
        status=seen.status if seen else None,
        log=seen.log if seen else None,
        disk=seen.disk if seen else None,
        forecast=_forecast(observer, seen) if seen else None,
        connections=seen.connections if seen else {},
        redis=seen.redis if seen else observer.redis,
        sample=kept[-1] if kept else None,
        movers=observer.movers.top(MOVERS_MAX) if observer.movers else [],
        movers_counter=observer.movers.counter if observer.movers else "",
    )


def headline(observer: Observer) -> tuple[str, str]:
    """The sentence at the top and its level, `good`, `warn` or `bad`.

    It is that of `projector status`, unless the database does not answer.
    """
    seen = observer.latest
    if observer.error is not None:
        since = seen.at if seen else observer.begun_at
        ago = f"{time.time() - since:,.0f} s"
        return (
            f"The database has not answered for {ago}: {observer.error}; projector status says "
            "whether it can be reached. What is below is as old.",
            "bad",
        )
    if seen is None:
        return "Looking at the database for the first time.", "warn"
    return seen.status.sentence, seen.status.level


def _forecast(observer: Observer, seen: Observation) -> Forecast:
    kept, log = observer.samples.kept, seen.log
    rate = sum(s.appended_per_second for s in kept) / len(kept) if kept else 0.0
    each = log.bytes / log.events if log.events >= EVENTS_MIN else 0.0
    return Forecast(
        bytes_per_event=round(each, 1),
        events_per_second=round(rate, 1),
        bytes_per_day=round(each * rate * DAY_SECONDS),
    )
