"""A PostgreSQL of a test's own, to be crashed: durable as an operator's, quick to make."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from projector.embedded_postgres import CONFIGURATION, EmbeddedPostgres
from projector.errors import CannotConnect
from tests.support.harness import until

SMALL = """
shared_buffers = 128MB
max_connections = 40
"""
"""fsync, full_page_writes and synchronous_commit stay as they are: on."""


@contextmanager
def own_server() -> Iterator[EmbeddedPostgres]:
    """Runs the server, and ends it however it may be."""
    with tempfile.TemporaryDirectory(prefix="pj", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder), configuration=CONFIGURATION + SMALL)
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


async def make_database(server: EmbeddedPostgres, name: str) -> str:
    """Makes an empty database; returns its URL."""
    admin = await asyncpg.connect(server.url())
    try:
        await admin.execute(f"CREATE DATABASE {name}")
    finally:
        await admin.close()
    return server.url(name)


def postmaster(server: EmbeddedPostgres) -> int:
    """The process that all others of the server are children of."""
    return int((server.data / "postmaster.pid").read_text().split()[0])


async def kill_postmaster(server: EmbeddedPostgres) -> None:
    """Kills the server's first process as the kernel does, and starts the server again."""
    pid = postmaster(server)
    os.kill(pid, signal.SIGKILL)

    async def started() -> bool:
        try:
            server.start()
        except CannotConnect:
            return False  # What is left of it has still to notice.
        return postmaster(server) != pid

    await until(started, seconds=120)
