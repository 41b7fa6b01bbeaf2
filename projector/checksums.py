"""Checksums: whether two tables have the same rows, found out by one pass over each.

Each row has a hash of 64 bits: of its first column, with that of its second column as the seed, and
so on. The checksum is their sum, and how many there are. The last seed, and the text that stands
for NULL, are drawn anew each time, so that nobody can make other rows with the same checksum. Equal
tables have equal checksums; others, but for one case in 2^64, do not.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import asyncpg

from projector.aggregate import AUDIT_SECONDS_MAX
from projector.home import quoted

# What is no text is hashed as its text: equal texts are equal values.
COLUMNS: Final = """
SELECT a.attname FROM pg_attribute AS a JOIN pg_attribute AS b USING (attname)
WHERE a.attrelid = $1::text::regclass AND b.attrelid = $2::text::regclass
    AND a.attnum > 0 AND b.attnum > 0 AND NOT a.attisdropped AND NOT b.attisdropped
ORDER BY a.attnum
"""
PENDING: Final = "SELECT EXISTS (SELECT FROM projector.outbox WHERE aggregate = ANY($1::text[]))"


async def columns_of_both(connection: asyncpg.Connection, one: str, other: str) -> list[str]:
    """The columns that both tables have."""
    return [row["attname"] for row in await connection.fetch(COLUMNS, one, other)]


def row_hash(columns: Sequence[str]) -> str:
    """The hash of a row, as SQL; $1 is the seed, $2 what stands for NULL."""
    seed = "$1::bigint"
    for column in columns:
        seed = f"hashtextextended(coalesce({quoted(column)}::text, $2::text), {seed})"
    return seed


async def same_rows(
    connection: asyncpg.Connection,
    one: str,
    other: str,
    columns: Sequence[str],
    condition: str = "",
) -> bool:
    """Whether two tables have the same rows, as far as `condition` asks for them."""
    sums = f"count(*), sum({row_hash(columns)})"
    return await _same(connection, sums, one, other, condition)


async def none_waits(connection: asyncpg.Connection, names: Sequence[str]) -> bool:
    """Whether nothing waits in the outbox for aggregates and derived tables of these names."""
    return not await connection.fetchval(PENDING, names)


async def same_counts(
    connection: asyncpg.Connection,
    tables: tuple[str, str],
    key: str,
    counters: Sequence[str],
    names: Sequence[str],
) -> bool:
    """Whether two tables of counters have the same that are not zero, and none is to change.

    `names` are those by which the outbox knows the aggregates.
    """
    if not await none_waits(connection, names):
        return False
    sums = [
        f"sum({row_hash((key, counter))}) FILTER (WHERE {quoted(counter)} <> 0)"
        for counter in counters
    ]
    return await _same(connection, ", ".join(sums), *tables, "")


async def _same(
    connection: asyncpg.Connection, sums: str, one: str, other: str, condition: str
) -> bool:
    seed, null = secrets.randbits(63), secrets.token_hex(16)
    # Asked for all rows, though there is one: asked for one, Postgres lets no process help.
    rows = [
        await connection.fetch(
            f"SELECT {sums} FROM {table}{condition}", seed, null, timeout=AUDIT_SECONDS_MAX
        )
        for table in (one, other)
    ]
    return bool(rows[0] == rows[1])
