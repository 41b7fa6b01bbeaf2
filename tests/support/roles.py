"""The roles of ops/roles.sql, as an operator makes them."""

from __future__ import annotations

import asyncio
import subprocess
from urllib.parse import urlsplit

from projector.embedded_postgres import EmbeddedPostgres
from tests.support.nodes import ROOT


def as_role(url: str, role: str) -> str:
    """The same database, as somebody else: by its socket everybody is let in."""
    return url.replace("//postgres@", f"//projector_{role}@")


async def make_roles(server: EmbeddedPostgres, url: str) -> str:
    """Runs the file by psql, as a superuser; returns what it printed."""
    name = urlsplit(url).path.removeprefix("/")
    done = await asyncio.to_thread(
        subprocess.run,
        [str(server.binaries / "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h",
         str(server.socket_folder), "-U", "postgres", "-f", str(ROOT / "ops/roles.sql"), name],
        capture_output=True,
        check=False,
        text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout
