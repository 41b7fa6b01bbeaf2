"""What else may be wrong: which facts make which clause, and which make none."""

from __future__ import annotations

import msgspec
import pytest

from projector.disk import DiskFacts
from projector.facts import LogFacts, RedisFacts
from projector.failures import Failure
from projector.samples import Sample
from projector.troubles import Surroundings, troubles_of
from projector.waits import Wait

GB = 10**9
STREAM = "redis://localhost:6379/0?stream=firehose_live"
CALM = Surroundings(
    look_seconds=[0.1, 0.1, 0.1],
    wait=None,
    failures=[],
    redis=[RedisFacts(stream=STREAM, entries=700, memory_bytes=1, memory_max_bytes=0)],
    stream_entries_max=1_000,
    log=LogFacts(
        bytes=600_000,
        partitions=1,
        partitions_ahead=0,
        room_events=0,
        events=1_000,
        database_bytes=900_000,
        archive_bytes=0,
    ),
    disk=DiskFacts(free_bytes=6 * GB, total_bytes=100 * GB),
    events_per_second=100.0,
)
FAILURE = Failure(
    projection="like", log_offset=99, attempts=3, seconds=41.2, error="lock: not; available"
)


def samples(*seconds: float | None) -> list[Sample]:
    return [Sample(i, 1.0, 1.0, 0.0, each, None) for i, each in enumerate(seconds)]


def waiting(**facts: object) -> Wait:
    common: dict[str, object] = {
        "role": "apply like", "seconds": 12.4, "event": "", "blocker": None, "blocker_name": "",
    }  # fmt: skip
    return msgspec.convert(common | facts, Wait)


# A log that takes 600 bytes an event, at 100 a second, takes 5.18 GB a day.
CASES: dict[str, tuple[dict[str, object], str, str]] = {
    "stuck": (
        {"failures": [FAILURE]},
        "bad",
        "like is stuck after offset 99, 3 attempts in 41 s failed with “lock – not, available”:"
        " projector trace 100",
    ),
    "a lock": (
        {"wait": waiting(event="Lock transactionid", blocker=4711, blocker_name="psql")},
        "warn",
        "apply like has waited 12 s for a lock that process 4711 (psql) holds:"
        " SELECT pg_terminate_backend(4711)",
    ),
    "a long statement": (
        {"wait": waiting(event="IO DataFileRead")},
        "warn",
        "Postgres is slow, a statement of apply like has taken 12 s by now (IO DataFileRead):"
        " projector doctor",
    ),
    "slow looks": (
        {"look_seconds": [2.1, 2.3, 4.0]},
        "warn",
        "Postgres is slow, it took 4.0 s to answer what the status asks: projector doctor",
    ),
    "slow windows": (
        {"samples": samples(*[0.1] * 30, None, *[1.2] * 5)},
        "warn",
        "Postgres is slow, a window takes 1.2 s, and took 0.1 s in the hour before:"
        " projector doctor",
    ),
    "Redis without memory": (
        {"redis": [RedisFacts(stream=STREAM, memory_bytes=99_000_000, memory_max_bytes=10**8)]},
        "bad",
        "Redis is full, 99.0 MB of its 100 MB are used and it takes no more events:"
        " redis-cli -u redis://localhost:6379/0 CONFIG SET maxmemory 198000000",
    ),
    "a full stream": (
        {"redis": [RedisFacts(stream=STREAM, entries=999)]},
        "bad",
        f"the stream {STREAM} is full, 999 of 1,000 entries wait to be read and its writer waits"
        f" for them: projector ingest {STREAM}",
    ),
    "a full disk": (
        {"disk": DiskFacts(free_bytes=4 * GB, total_bytes=100 * GB)},
        "bad",
        "the disk of Postgres is nearly full, 4.0 GB of 100 GB are free, at this rate for 19"
        " hours: projector archive --to FOLDER --older-than-days 30",
    ),
    "a disk that fills": (
        {"disk": DiskFacts(free_bytes=4 * GB, total_bytes=20 * GB)},
        "bad",
        "the disk of Postgres is nearly full, 4.0 GB of 20.0 GB are free, at this rate for 19"
        " hours: projector archive --to FOLDER --older-than-days 30",
    ),
    "a full disk, and nothing comes": (
        {"disk": DiskFacts(free_bytes=4 * GB, total_bytes=100 * GB), "events_per_second": 0.0},
        "bad",
        "the disk of Postgres is nearly full, 4.0 GB of 100 GB are free:"
        " projector archive --to FOLDER --older-than-days 30",
    ),
}
NOTHING: dict[str, dict[str, object]] = {
    "calm": {},
    "failed twice": {"failures": [msgspec.structs.replace(FAILURE, attempts=2)]},
    "one slow look": {"look_seconds": [0.1, 9.0, 0.1]},
    "the first slow look": {"look_seconds": [9.0]},
    "windows that are slow all the time": {"samples": samples(*[3.0] * 40)},
    "slow windows too early to say": {"samples": samples(*[0.1] * 29, *[1.2] * 5)},
    "windows ten times as long, and short": {"samples": samples(*[0.01] * 40, *[0.3] * 5)},
    "memory without a limit": {"redis": [RedisFacts(stream=STREAM, memory_bytes=9 * GB)]},
    "a disk that is not known": {"disk": None},
    "half a disk, for hours": {"disk": DiskFacts(free_bytes=GB, total_bytes=2 * GB)},
}


@pytest.mark.parametrize("case", CASES)
def test_a_trouble(case: str) -> None:
    facts, level, clause = CASES[case]
    (found,) = troubles_of(msgspec.structs.replace(CALM, **facts))
    assert (found.level, found.clause) == (level, clause)


@pytest.mark.parametrize("case", NOTHING)
def test_no_trouble(case: str) -> None:
    assert troubles_of(msgspec.structs.replace(CALM, **NOTHING[case])) == []


def test_the_worst_comes_first() -> None:
    facts = {"look_seconds": [3.0] * 3, "disk": DiskFacts(free_bytes=0, total_bytes=GB)}
    found = troubles_of(msgspec.structs.replace(CALM, **facts))
    assert [trouble.level for trouble in found] == ["bad", "warn"]
