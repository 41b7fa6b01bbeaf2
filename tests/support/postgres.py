"""What the tests need to know of PostgreSQL servers."""

from __future__ import annotations

from pathlib import Path

DEBIAN_BINARIES = Path("/usr/lib/postgresql/15/bin")

FAST = """
fsync = off
full_page_writes = off
shared_buffers = 128MB
max_wal_size = 2GB
"""
"""Settings that only tests may have; tests that crash the server make their own."""
