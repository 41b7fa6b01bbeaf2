"""What else may be wrong, beside what the tables of the engine tell: each in a clause. Pure.

A clause names the thing and the cause, and ends, after a colon, with what to type.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

import msgspec

from projector.disk import DiskFacts
from projector.doctor.finding import size
from projector.facts import LogFacts, RedisFacts
from projector.failures import Failure
from projector.samples import Sample
from projector.status import Trouble
from projector.waits import Wait

ATTEMPTS_MIN: Final = 3
"""Who has failed so often at one place is stuck there."""

SLOW_SECONDS: Final = 2.0
LOOKS: Final = 3
"""Where so many looks in turn at the database take longer it is slow, whatever it was before."""

SLOW_TIMES: Final = 10.0
SLOW_SECONDS_MIN: Final = 0.5
"""What takes so many times as long as it used to, and this long at least, is slow."""

SAMPLES_MIN: Final = 30
RECENT_SAMPLES: Final = 5

FULL_SHARE: Final = 0.8
"""From which share of its bound on a stream is said to be nearly full."""

MEMORY_SHARE: Final = 0.95
DISK_SHARE: Final = 0.05
EVENTS_MIN: Final = 1_000
"""With fewer events in it the log's size says nothing of what one takes."""

LOW_SHARE: Final = 0.25
"""A disk of which less is free, and that would be full in a day, is nearly full."""

DAY_SECONDS: Final = 86_400.0


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What was found around the engine's tables; `look_seconds` is how long the last looks took,
    and `disk` None where it is not known. `events_per_second` is what is appended now."""

    look_seconds: Sequence[float]
    wait: Wait | None
    failures: list[Failure]
    redis: list[RedisFacts]
    stream_entries_max: int
    log: LogFacts
    disk: DiskFacts | None
    events_per_second: float
    samples: Sequence[Sample] = ()


def troubles_of(around: Surroundings) -> list[Trouble]:
    """All that is wrong there, the worst first."""
    found = [*_stuck(around), *_slow(around), *_redis(around), *_disk(around)]
    return sorted(found, key=lambda trouble: trouble.level != "bad")


def _stuck(around: Surroundings) -> Iterator[Trouble]:
    for failure in around.failures:
        if failure.attempts >= ATTEMPTS_MIN:
            yield Trouble(
                "bad",
                f"{failure.projection} is stuck after offset {failure.log_offset:,}, "
                f"{failure.attempts:,} attempts in {failure.seconds:,.0f} s failed with "
                f"“{_within(failure.error)}”: projector trace {failure.log_offset + 1}",
            )


def _within(text: str) -> str:
    """A text of Postgres' as a part of a clause, which ends at a semicolon or a colon."""
    return text.replace("; ", ", ").replace(": ", " – ")


def _slow(around: Surroundings) -> Iterator[Trouble]:
    wait = around.wait
    if wait is not None and wait.blocker is not None:
        yield Trouble(
            "warn",
            f"{wait.role} has waited {wait.seconds:,.0f} s for a lock that process {wait.blocker} "
            f"({wait.blocker_name or 'nameless'}) holds: SELECT pg_terminate_backend"
            f"({wait.blocker})",
        )
        return
    if wait is not None:
        what = f" ({wait.event})" if wait.event else ""
        yield Trouble(
            "warn",
            f"Postgres is slow, a statement of {wait.role} has taken {wait.seconds:,.0f} s by now"
            f"{what}: projector doctor",
        )
        return
    slow = _slower(around)
    if slow:
        yield Trouble("warn", f"Postgres is slow, {slow}: projector doctor")


def _slower(around: Surroundings) -> str:
    """What takes longer than it used to."""
    looks = around.look_seconds
    if len(looks) >= LOOKS and min(looks) > SLOW_SECONDS:
        return f"it took {looks[-1]:,.1f} s to answer what the status asks"
    windows = [s.window_seconds for s in around.samples if s.window_seconds is not None]
    before, recent = windows[:-RECENT_SAMPLES], windows[-RECENT_SAMPLES:]
    if len(before) < SAMPLES_MIN:
        return ""
    usual, now = median(before), median(recent)
    if now < max(SLOW_SECONDS_MIN, SLOW_TIMES * usual):
        return ""
    return f"a window takes {now:,.1f} s, and took {usual:,.3g} s in the hour before"


def _redis(around: Surroundings) -> Iterator[Trouble]:
    for stream in around.redis:
        used, most = stream.memory_bytes, stream.memory_max_bytes
        bound = around.stream_entries_max
        if most and used > MEMORY_SHARE * most:
            server, _, _ = stream.stream.partition("?")
            yield Trouble(
                "bad",
                f"Redis is full, {size(used)} of its {size(most)} are used and it takes no more "
                f"events: redis-cli -u {server} CONFIG SET maxmemory {2 * used}",
            )
        elif stream.entries > FULL_SHARE * bound:
            yield Trouble(
                "bad",
                f"the stream {stream.stream} is full, {stream.entries:,} of {bound:,} entries "
                f"wait to be read and its writer waits for them: projector ingest {stream.stream}",
            )


def _disk(around: Surroundings) -> Iterator[Trouble]:
    disk = around.disk
    if disk is None:
        return
    seconds = disk.free_bytes / max(growth(around.log, around.events_per_second), 1e-9)
    share = disk.free_bytes / max(disk.total_bytes, 1)
    if share < DISK_SHARE or (share < LOW_SHARE and seconds < DAY_SECONDS):
        lasts = f", at this rate for {span(seconds)}" if seconds < 365 * DAY_SECONDS else ""
        yield Trouble(
            "bad",
            f"the disk of Postgres is nearly full, {size(disk.free_bytes)} of "
            f"{size(disk.total_bytes)} are free{lasts}: projector archive --to FOLDER "
            "--older-than-days 30",
        )


def growth(log: LogFacts, events_per_second: float) -> float:
    """Bytes by which the log grows a second: an event takes what events took on average. The tables
    of projections come on top of it."""
    return events_per_second * log.bytes / log.events if log.events >= EVENTS_MIN else 0.0


def span(seconds: float) -> str:
    """A time to come as people say it."""
    if seconds < 7200:
        return f"{seconds / 60:,.0f} minutes"
    if seconds < 2 * DAY_SECONDS:
        return f"{seconds / 3600:,.0f} hours"
    return f"{seconds / DAY_SECONDS:,.0f} days"
