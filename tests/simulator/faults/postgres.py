"""Faults of Postgres itself, and of those who use it beside us."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from tests.simulator.faults.fault import Disturbed, Unfired, fault
from tests.simulator.faults.servers import ROLE, fill, relieve
from tests.simulator.faults.world import AWAY, SEEN_SECONDS_MAX, TEND_SECONDS, World
from tests.support.own_server import kill_postmaster

TIMES = 3
"""How often all backends are ended, or connections cut, before it counts as unseen."""
HEARD_SECONDS = 30.0
VICTIM_SECONDS = 5.0
"""How long what a victim says may be on its way."""
TROUBLE = ("trying again", "leases not renewed")
"""What the program says of every transient trouble."""
OURS = "application_name LIKE 'projector/%' AND datname = current_database()"
STARTED = "SELECT pg_postmaster_start_time()"
TERMINATE = f"SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity WHERE {OURS}"
BLOCKED = f"SELECT count(*) FROM pg_stat_activity WHERE {OURS} AND $1 = ANY(pg_blocking_pids(pid))"
IDLE_MS = """
SELECT coalesce((SELECT extract(epoch FROM clock_timestamp() - xact_start) * 1000
    FROM pg_stat_activity WHERE pid = $1 AND state = 'idle in transaction'
    AND backend_xid IS NOT NULL), 0)::bigint
"""
OPEN_MS_MIN = 1_000
AGAIN = "the log and every table go on where they were"
LOCKED = ("projector.log_head", "projector.checkpoint", "projector.source_cursor",
          "projector.lease")  # fmt: skip


async def _restarted(world: World, how: str) -> str:
    began = await world.watch.value(STARTED)
    mark = world.mark()
    async with world.servers.postgres_lock:
        if how == "kill":
            await kill_postmaster(world.servers.postgres)
        else:
            await asyncio.to_thread(world.servers.postgres.stop, how)
            await world.servers.started()
    if await world.watch.value(STARTED) == began:
        raise Unfired("it is the same server still")
    return f"another postmaster; {await world.hear(mark, *TROUBLE)}"


ANOTHER = "`pg_postmaster_start_time()` is another; a process says that it tries again"


@fault("postgres-fast", does="Postgres is stopped (fast) and started", seen=ANOTHER, holds=AGAIN)
async def postgres_fast(world: World) -> str:
    return await _restarted(world, "fast")


@fault(
    "postgres-immediate",
    does="Postgres is stopped without a checkpoint (immediate) and started",
    seen=ANOTHER,
    holds="commits that were not synced may be gone whole; their windows are applied again",
)
async def postgres_immediate(world: World) -> str:
    return await _restarted(world, "immediate")


@fault(
    "postgres-killed", does="the postmaster is killed, and started again", seen=ANOTHER,
    holds="the same",
)  # fmt: skip
async def postgres_killed(world: World) -> str:
    return await _restarted(world, "kill")


@fault(
    "backends-terminated",
    does="every connection of the program is ended by `pg_terminate_backend`",
    seen="the server returns the ended ones; a process says that it tries again",
    holds=AGAIN,
)
async def backends_terminated(world: World) -> str:
    mark = world.mark()
    for _ in range(TIMES):
        # Those who have no connection at the time, as after another fault, say nothing of it.
        ended = await world.watch.rows(TERMINATE)
        if not ended:
            raise Disturbed("there was none to be ended")
        with contextlib.suppress(Unfired):
            heard = await world.hear(mark, *TROUBLE, seconds=HEARD_SECONDS)
            return f"{len(ended)} backends ended; {heard}"
    raise Unfired(f"nobody said anything of {TIMES} times that all backends were ended")


@asynccontextmanager
async def transaction(world: World, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """A transaction of somebody else, rolled back in the end."""
    stranger = await world.stranger()
    try:
        # Where there is a deadlock, the program is to be its victim.
        for statement in ("SET deadlock_timeout = '1min'", "BEGIN", *statements):
            await stranger.execute(statement)
        yield stranger
    finally:
        stranger.terminate()


async def _blocked(world: World, stranger: asyncpg.Connection, what: str) -> int:
    """Waits until backends of ours wait for a stranger's locks; how many."""
    pid = stranger.get_server_pid()

    async def blocked() -> int:
        if stranger.is_closed():
            raise Disturbed("the locks are gone with their holder")
        return await world.watch.count(BLOCKED, pid)

    count: int = await world.see(f"nobody waits for {what}", blocked)
    return count


@fault(
    "transaction-open",
    does="somebody leaves a transaction open, with an id and a snapshot, the whole time",
    seen="`pg_stat_activity` has it idle in transaction, for a second and more",
    holds="nothing waits for it",
    whole=True,
)
async def transaction_open(world: World) -> str:
    longest_ms = 0

    def is_over() -> bool:
        return world.over.is_set() and longest_ms >= OPEN_MS_MIN

    deadline = time.monotonic() + SEEN_SECONDS_MAX
    while not is_over() and time.monotonic() < deadline:
        await asyncio.sleep(TEND_SECONDS)
        with contextlib.suppress(*AWAY):
            async with transaction(world, "SELECT pg_current_xact_id()") as stranger:
                await stranger.execute("SELECT count(*) FROM bsky.post")
                pid = stranger.get_server_pid()
                while not is_over() and not stranger.is_closed():
                    now_ms = await world.watch.count(IDLE_MS, pid)
                    longest_ms = max(longest_ms, now_ms)
                    await asyncio.sleep(0.1)
    if longest_ms < OPEN_MS_MIN:
        raise Unfired(f"it was open for {longest_ms} ms only")
    return f"it was open for {longest_ms / 1000:.1f} s"


@fault(
    "rows-locked",
    does="somebody holds the locks of hot rows (the head, checkpoints, cursors or leases)",
    seen="`pg_blocking_pids` of our backends names the holder; a process gives up waiting",
    holds="who waited goes on; nobody waits longer than a command may take",
)
async def rows_locked(world: World) -> str:
    table = world.rng.choice(LOCKED)
    mark = world.mark()
    async with transaction(world, f"SELECT FROM {table} FOR UPDATE") as stranger:
        blocked = await _blocked(world, stranger, table)
        heard = await world.hear(mark, *TROUBLE)
    return f"{blocked} backends waited for {table}; {heard}"


@fault(
    "deadlock",
    does="somebody locks a table and a checkpoint against the order in which a projector does",
    seen="a projector is the victim, and says *deadlock detected*",
    holds="the window is applied again, whole",
)
async def deadlock(world: World) -> str:
    mark = world.mark()
    deadline = time.monotonic() + SEEN_SECONDS_MAX
    while time.monotonic() < deadline:
        async with transaction(world, 'LOCK TABLE bsky."like" IN SHARE MODE') as stranger:
            await _blocked(world, stranger, "the table")
            await stranger.execute("SELECT FROM projector.checkpoint FOR UPDATE", timeout=30)
        # Who waited for the table may be somebody who has no checkpoint, as a rebuild or a heal.
        with contextlib.suppress(Unfired):
            return await world.hear(mark, "deadlock detected", seconds=VICTIM_SECONDS)
    raise Unfired("nobody who waited for the table was the victim of a deadlock")


@fault(
    "statement-timeout",
    does="the role's `statement_timeout` becomes 1 ms, on new connections",
    seen="a process says that a statement was cancelled for its time",
    holds=AGAIN,
)
async def statement_timeout(world: World) -> str:
    mark = world.mark()
    try:
        await world.watch.execute(f"ALTER ROLE {ROLE} SET statement_timeout = '1ms'")
        await world.watch.rows(TERMINATE)
        return await world.hear(mark, "due to statement timeout")
    finally:
        await world.watch.execute(f"ALTER ROLE {ROLE} RESET statement_timeout")
        await world.watch.rows(TERMINATE)


@fault(
    "connections-exhausted",
    does="somebody takes every connection that `max_connections` allows, and ours are ended",
    seen="a process is told that there are too many",
    holds=AGAIN,
)
async def connections_exhausted(world: World) -> str:
    mark = world.mark()
    held: list[asyncpg.Connection] = []

    async def take() -> bool:
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                held.append(await asyncpg.connect(world.servers.direct_url(world.name)))
        return any(text in world.news(mark) for text in REFUSALS)

    try:
        await take()
        ended = await world.watch.rows(TERMINATE)
        await world.see("nobody was refused", take)
    finally:
        for connection in held:
            connection.terminate()
    return f"{len(held)} taken, {len(ended)} of ours ended; a process was refused"


REFUSALS = ("too many clients", "remaining connection slots")
FULL = "No space left on device"


@fault(
    "disk-full",
    does="a file takes all room on the disk that Postgres is on",
    seen="the server, or a process, says *No space left on device*",
    holds="once there is room all goes on; what was committed is there",
    needs_root=True,
)
async def disk_full(world: World) -> str:
    return await _without_room(world, FULL, "SELECT 1")


@fault(
    "disk-full-of-log",
    does="the same, until Postgres can write no write-ahead log and ends itself (PANIC)",
    seen="the server's log has the PANIC",
    holds="the same",
    needs_root=True,
)
async def disk_full_of_log(world: World) -> str:
    # A record between two switches, or there is nothing to switch.
    return await _without_room(
        world, "PANIC:", "SELECT pg_logical_emit_message(false, '', 'x'), pg_switch_wal()"
    )


async def _without_room(world: World, sign: str, statement: str) -> str:
    disk, server = world.servers.disk, world.servers.postgres
    assert disk is not None
    mark, said = world.mark(), server.log.stat().st_size

    async def seen() -> bool:
        await asyncio.to_thread(fill, disk)
        with contextlib.suppress(*AWAY):
            await world.servers.admin(statement)
        news = world.news(mark)
        with server.log.open("rb") as log:
            log.seek(said)
            is_said = sign.encode() in log.read() or sign in news
        # The disk stays full until it is felt: Postgres alone may be the first to say so.
        return is_said and any(text in news for text in TROUBLE)

    async with world.servers.postgres_lock:
        try:
            await world.see("the disk was not full enough", seen)
        finally:
            relieve(disk)
            await world.servers.started()
    return f"{sign!r} was said; {await world.hear(mark, *TROUBLE)}"
