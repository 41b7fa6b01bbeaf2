"""What the tests need to know of PostgreSQL servers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")

FAST = """
fsync = off
full_page_writes = off
shared_buffers = 128MB
max_wal_size = 2GB
"""
"""Settings that only tests may have; tests that crash the server make their own."""


def binaries_of(server: str) -> Path | None:
    """The programs of `embedded`, which are the default, or of `debian15`; skips where there is
    none, but fails when CI=true."""
    if server == "embedded":
        return None
    if not DEBIAN_BINARIES.exists():
        if os.environ.get("CI") == "true":
            pytest.fail("Debian's postgresql-15 is missing, and CI must not skip it")
        pytest.skip("needs Debian's postgresql-15")
    return DEBIAN_BINARIES
