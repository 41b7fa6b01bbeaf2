"""Copies of a filled database that are the same, or are not: the driver must tell which."""

from __future__ import annotations

from typing import Final

from projector.embedded_postgres import EmbeddedPostgres
from tests.peer.compare import execute

# Each row is written anew, in random order: the same rows at other places.
SHUFFLE: Final = """
DO $$
DECLARE name text; col text; place tid;
BEGIN
  FOR name, col IN
    SELECT c.relname, min(a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'bsky'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
      AND a.attgenerated = '' AND NOT a.attisdropped
    GROUP BY c.relname
  LOOP
    FOR place IN EXECUTE format('SELECT ctid FROM bsky.%I ORDER BY random()', name) LOOP
      EXECUTE format('UPDATE bsky.%I SET %I = %I WHERE ctid = $1', name, col, col) USING place;
    END LOOP;
  END LOOP;
END $$
"""

# What is done to a table, and the methods of which one at least must show it.
DAMAGES: Final[dict[str, str]] = {}


async def copy(server: EmbeddedPostgres, original: str, name: str) -> str:
    """A copy of a database that nobody is connected to; returns its URL."""
    await execute(server.url(), f"CREATE DATABASE {name} TEMPLATE {original}")
    return server.url(name)
