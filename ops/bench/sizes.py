"""How much room tables take, and what of it is dead."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

LOG: Final = "event_log"
SIZES: Final = """
SELECT n.nspname, c.relname, pg_table_size(c.oid), pg_indexes_size(c.oid),
    coalesce(s.n_dead_tup, 0), coalesce(s.autovacuum_count + s.vacuum_count, 0),
    coalesce(s.n_tup_upd, 0), coalesce(s.n_tup_hot_upd, 0)
FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
WHERE c.relkind = 'r' AND n.nspname = ANY($1::text[]) ORDER BY 1, 2
"""
WAL: Final = "SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"
FULL_PAGES: Final = "SELECT wal_fpi FROM pg_stat_wal"


@dataclass(frozen=True, slots=True)
class Size:
    """A table at one moment; the log's partitions are one."""

    schema: str
    table: str
    table_bytes: int
    index_bytes: int
    dead_rows: int
    vacuums: int
    updates: int
    hot_updates: int

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.table_bytes + self.index_bytes

    def __add__(self, other: Size) -> Size:
        mine, theirs = self._numbers(), other._numbers()
        numbers = [a + b for a, b in zip(mine, theirs, strict=True)]
        return Size(self.schema, self.table, *numbers)

    def _numbers(self) -> tuple[int, ...]:
        return (
            self.table_bytes, self.index_bytes, self.dead_rows, self.vacuums, self.updates,
            self.hot_updates,
        )  # fmt: skip


async def sizes_of(connection: asyncpg.Connection, schema: str) -> dict[str, Size]:
    """The engine's tables and those of the projections in `schema`, by name."""
    found: dict[str, Size] = {}
    for row in await connection.fetch(SIZES, ["projector", schema]):
        space, table = str(row[0]), str(row[1])
        if space == "projector" and table.startswith(f"{LOG}_"):
            table = LOG
        size = Size(space, table, *row[2:])
        found[table] = found[table] + size if table in found else size
    return found


async def wal_bytes(connection: asyncpg.Connection) -> int:
    """Bytes of WAL ever written."""
    return int(await connection.fetchval(WAL))


async def wal_full_pages(connection: asyncpg.Connection) -> int:
    """Whole pages in the WAL so far, as the first change after a checkpoint writes them."""
    return int(await connection.fetchval(FULL_PAGES))
