"""What a connection's work touches: pages, page faults, and what goes into the WAL for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from mmap import PAGESIZE, mmap
from os import close, ftruncate, memfd_create
from pathlib import Path
from time import process_time
from typing import Final

import asyncpg

FLUSH: Final = "SELECT pg_stat_force_next_flush()"
COUNTERS: Final = """
SELECT blks_hit + blks_read AS looked_at, blks_read AS read, wal_fpi,
    pg_current_wal_insert_lsn() - '0/0'::pg_lsn AS wal_bytes
FROM pg_stat_wal, pg_stat_database WHERE datname = current_database()
"""
MINFLT: Final = 7
"""Where in /proc/PID/stat, after the name, the minor faults are."""
FAULT_PAGES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Touched:
    """What work touched, of any number of events.

    `pages` were looked at, of which `pages_read` were not in Postgres's buffers. `faults` are first
    touches of a page of memory by the connection's process (None: of a server we cannot look at).
    `whole_pages` went into the WAL, as the first change after a checkpoint writes them.
    """

    pages: int
    pages_read: int
    whole_pages: int
    wal_bytes: int
    faults: int | None


@asynccontextmanager
async def touching(
    connection: asyncpg.Connection, into: list[Touched], *, local: bool
) -> AsyncIterator[None]:
    """Appends to `into` what the body touched by this connection; `local`: its process is here."""
    before = await _counters(connection)
    faults = _faults(connection) if local else None
    yield
    if faults is not None:
        faults = _faults(connection) - faults
    after = await _counters(connection)
    into.append(Touched(*(b - a for a, b in zip(before, after, strict=True)), faults=faults))


async def _counters(connection: asyncpg.Connection) -> list[int]:
    await connection.execute(FLUSH)
    row = await connection.fetchrow(COUNTERS)
    assert row is not None
    return [int(value) for value in row]


def _faults(connection: asyncpg.Connection) -> int:
    stat = Path("/proc", str(connection.get_server_pid()), "stat").read_text()
    return int(stat.rpartition(")")[2].split()[MINFLT])


def fault_micros() -> float:
    """What touching a page of shared memory, which is filled, costs a process for the first time:
    microseconds of CPU."""
    file = memfd_create("bench")
    try:
        ftruncate(file, FAULT_PAGES * PAGESIZE)
        with mmap(file, 0) as filled, mmap(file, 0) as touched:
            _touch(filled)
            first, second = _touch(touched), _touch(touched)
    finally:
        close(file)
    return (first - second) / FAULT_PAGES * 1e6


def _touch(memory: mmap) -> float:
    """CPU seconds to write a byte of every page."""
    ones = b"\1" * FAULT_PAGES
    begun = process_time()
    memory[::PAGESIZE] = ones
    return process_time() - begun
