"""The failures: what is done, and what the sentence must then name and say to type."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ops.staged.pipeline import Pipeline
from tests.simulator.faults.servers import relieve

Act = Callable[[Pipeline], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure: `does` it while it is entered; the sentence then has all of `says`."""

    name: str
    what: str
    says: tuple[str, ...]
    act: Act
    needs_root: bool = False


FAILURES: Final[dict[str, Failure]] = {}


def failure(name: str, what: str, *says: str, needs_root: bool = False) -> Callable[[Act], Act]:
    """Registers a function as the act of a failure."""

    def register(act: Act) -> Act:
        FAILURES[name] = Failure(name, what, says, act, needs_root)
        return act

    return register


DELAY_SECONDS: Final = 0.1
LEFT: Final = 0.1
STREAM: Final = "staged"
POISON: Final = """
CREATE FUNCTION bsky.poisoned() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'out of memory, failed on request of size 1073741824' USING ERRCODE = '53200';
END $$
"""
TRIGGER: Final = """
CREATE TRIGGER poisoned BEFORE INSERT ON bsky."like" FOR EACH ROW
WHEN (NEW.uri LIKE '%/poison') EXECUTE FUNCTION bsky.poisoned()
"""
DAMAGE: Final = """
UPDATE bsky.profile_agg SET "followersCount" = "followersCount" + 7
WHERE did = (SELECT min(did) FROM bsky.profile_agg)
"""
REPAIR: Final = DAMAGE.replace("+ 7", "- 7")


PAST: Final = """
INSERT INTO projector.rate (source, collection, seconds, begins, events, newest_us)
SELECT source, '', w, b, 60 * w, 1000000 * (b + w - 1)
FROM projector.source_cursor, unnest(ARRAY[60, 3600]) AS w,
    LATERAL (SELECT extract(epoch FROM now())::bigint / w * w - n * w AS b
        FROM generate_series(1, CASE w WHEN 60 THEN 120 ELSE 20 END) AS n) AS past
ON CONFLICT DO NOTHING
"""
"""As if the source had brought 60 events a second for twenty hours."""
PROBED: Final = {
    "PROJECTOR_PROBE_SECONDS": "4",
    "PROJECTOR_PROBE_GRACE_SECONDS": "2",
    "PROJECTOR_PROBE_EVERY_SECONDS": "1",
}


@failure(
    "upstream-silent", "The host keeps its connections, and says nothing any more.",
    "has brought nothing for", "projector doctor",
)  # fmt: skip
@asynccontextmanager
async def upstream_silent(pipe: Pipeline) -> AsyncIterator[None]:
    await pipe.admin(PAST)
    pipe.speaks = False
    try:
        yield
    finally:
        pipe.speaks = True


@failure(
    "upstream-lossy", "The host leaves out all likes; another host, asked as a witness, has them.",
    "100 % of app.bsky.feed.like records are missing since", "projector probe",
)  # fmt: skip
@asynccontextmanager
async def upstream_lossy(pipe: Pipeline) -> AsyncIterator[None]:
    pipe.loses = "app.bsky.feed.like"
    pipe.start("prober", "run", "like", PROJECTOR_PROBE_UPSTREAM=pipe.witness.url, **PROBED)
    try:
        yield
    finally:
        pipe.loses = ""
        await pipe.end("prober")
        await pipe.admin("DELETE FROM projector.probe", "DELETE FROM projector.probe_share")


@failure(
    "postgres-slow", f"Each answer of Postgres comes {DELAY_SECONDS * 2:g} s later.",
    "Postgres is slow", "projector doctor",
)  # fmt: skip
@asynccontextmanager
async def postgres_slow(pipe: Pipeline) -> AsyncIterator[None]:
    pipe.at.to_postgres.delay_seconds = DELAY_SECONDS
    try:
        yield
    finally:
        pipe.at.to_postgres.delay_seconds = 0.0


@failure(
    "redis-full", "A Redis between a second source and the log is at the end of its memory.",
    "Redis is full", "redis-cli -u redis://",
)  # fmt: skip
@asynccontextmanager
async def redis_full(pipe: Pipeline) -> AsyncIterator[None]:
    stream = f"redis://127.0.0.1:{pipe.at.to_redis.port}/0?stream={STREAM}"
    pipe.start("feed", "ingest", "generate:rate=20,events=0,seed=9", "--to", stream)
    pipe.start("tail", "ingest", stream)
    await pipe.watch.until(lambda: pipe.watch.count(INGESTED, f"%{STREAM}"), 1)
    used = (await pipe.redis("INFO", "memory")).partition(b"used_memory:")[2].split()[0]
    await pipe.redis("CONFIG", "SET", "maxmemory", int(used))
    try:
        yield
    finally:
        await pipe.redis("CONFIG", "SET", "maxmemory", 0)
        await pipe.end("feed", "tail")
        await pipe.admin(f"DELETE FROM projector.source_cursor WHERE source LIKE '%{STREAM}'")


INGESTED: Final = "SELECT count(*) FROM projector.source_cursor WHERE source LIKE $1"


@failure(
    "projection-stuck", "Postgres runs out of memory whenever one certain like is written.",
    "like is stuck after offset", "out of memory", "projector trace",
)  # fmt: skip
@asynccontextmanager
async def projection_stuck(pipe: Pipeline) -> AsyncIterator[None]:
    await pipe.admin(POISON, TRIGGER)
    like = next(e for e in pipe.made if e.collection == "app.bsky.feed.like" and e.record)
    pipe.say(msgspec.structs.replace(like, rkey="poison"))
    try:
        yield
    finally:
        await pipe.admin('DROP TRIGGER poisoned ON bsky."like"', "DROP FUNCTION bsky.poisoned")


@failure(
    "count-damaged", "Somebody adds 7 to an account's followers by hand.",
    "the audit found 1 difference", "projector verify",
)  # fmt: skip
@asynccontextmanager
async def count_damaged(pipe: Pipeline) -> AsyncIterator[None]:
    await pipe.admin(DAMAGE)
    try:
        yield
    finally:
        await pipe.admin(REPAIR)


@failure(
    "daemon-dead", "The daemon that runs `like` is killed.",
    "like behind and run by nobody", "projector run",
)  # fmt: skip
@asynccontextmanager
async def daemon_dead(pipe: Pipeline) -> AsyncIterator[None]:
    await pipe.end("other")
    try:
        yield
    finally:
        pipe.start("other", "run", "like")


@failure(
    "disk-nearly-full", "A file takes most of the disk that Postgres is on.",
    "the disk of Postgres is nearly full", "projector archive", needs_root=True,
)  # fmt: skip
@asynccontextmanager
async def disk_nearly_full(pipe: Pipeline) -> AsyncIterator[None]:
    disk = pipe.at.disk
    assert disk is not None, "only root can mount a small disk"
    fill_but(disk, LEFT)
    try:
        yield
    finally:
        relieve(disk)


def fill_but(disk: Path, share: float) -> None:
    """Leaves a share of a disk free."""
    room = os.statvfs(disk)
    size = int((room.f_bavail - share * room.f_blocks) * room.f_frsize)
    with (disk / "ballast").open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, size)
