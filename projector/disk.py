"""How much is free on the disk that Postgres is on: Postgres does not tell, the machine does."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

FOLDER: Final = """
SELECT pg_backend_pid(), (SELECT setting FROM pg_settings WHERE name = 'data_directory')
"""


class DiskFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The file system of the server's data folder."""

    free_bytes: int
    total_bytes: int


async def read_disk(connection: asyncpg.Connection) -> DiskFacts | None:
    """None where it cannot be known: the server is on another machine or in a container, or our
    role may not read where its data is (`pg_read_all_settings` lets it)."""
    row = await connection.fetchrow(FOLDER)
    assert row is not None
    pid, folder = row
    if folder is None or not _is_here(pid):
        return None
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    # What only root may use is none of Postgres'.
    return DiskFacts(
        free_bytes=found.f_bavail * found.f_frsize, total_bytes=found.f_blocks * found.f_frsize
    )


def _is_here(pid: int) -> bool:
    """Whether our backend is a process of this machine, as this process sees it."""
    try:
        return b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
