"""Checksums: whether two tables have the same rows, found out by one pass over each.

Each row has a hash of 64 bits of all its columns; the checksum is their sum, and how many there
are. The hash of a row is a sum of those of its columns, which would let values change places
between rows unseen: so it is hashed once more. The seed is drawn anew each time, so that no two
tables can be made, or happen to be, alike in this and no other way twice. Equal tables have equal
checksums; others, but for one in 2^64, do not.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

import asyncpg

from projector.aggregate import AUDIT_SECONDS_MAX
from projector.statements import quoted

# What has no such hash of its own, or one that tells less apart than its text, is taken as text.
COLUMNS: Final = """
SELECT a.attname AS name, a.atttypid = b.atttypid AND a.atttypid::regtype::text IN (
    'text', 'character varying', 'boolean', 'smallint', 'integer', 'bigint') AS as_it_is
FROM pg_attribute AS a JOIN pg_attribute AS b USING (attname)
WHERE a.attrelid = $1::text::regclass AND b.attrelid = $2::text::regclass
    AND a.attnum > 0 AND b.attnum > 0 AND NOT a.attisdropped AND NOT b.attisdropped
ORDER BY a.attnum
"""
PENDING: Final = "SELECT EXISTS (SELECT FROM projector.outbox WHERE aggregate = ANY($1::text[]))"
HASH: Final = "hashint8extended(hash_record_extended(ROW({values}), $1), $1)"


async def columns_of_both(
    connection: asyncpg.Connection, one: str, other: str
) -> list[tuple[str, bool]]:
    """The columns that both tables have, each with whether it is hashed as it is."""
    return [(row["name"], row["as_it_is"]) for row in await connection.fetch(COLUMNS, one, other)]


async def same_rows(
    connection: asyncpg.Connection,
    one: str,
    other: str,
    columns: Sequence[tuple[str, bool]],
    condition: str = "",
) -> bool:
    """Whether two tables have the same rows, as far as `condition` asks for them."""
    values = ", ".join(quoted(c) if as_it_is else f"{quoted(c)}::text" for c, as_it_is in columns)
    sums = f"count(*), sum({HASH.format(values=values)})"
    return await _same(connection, sums, one, other, condition)


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
    if await connection.fetchval(PENDING, names):
        return False
    sums = []
    for counter in map(quoted, counters):
        values = f"{quoted(key)}::text, {counter}::bigint"
        sums.append(f"sum({HASH.format(values=values)}) FILTER (WHERE {counter} <> 0)")
    return await _same(connection, ", ".join(sums), *tables, "")


async def _same(
    connection: asyncpg.Connection, sums: str, one: str, other: str, condition: str
) -> bool:
    seed = secrets.randbits(63)
    rows = [
        await connection.fetchrow(
            f"SELECT {sums} FROM {table}{condition}", seed, timeout=AUDIT_SECONDS_MAX
        )
        for table in (one, other)
    ]
    return bool(rows[0] == rows[1])
