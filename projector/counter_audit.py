"""The part of the rolling audit that proves counters: stored + pending is what the rows are.

The keys of an account are the account itself, and the at-uris of its records.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import asyncpg

from projector.aggregate import AUDIT_SECONDS_MAX
from projector.counters import (
    BY_KEYS,
    BY_RANGE,
    KEYS_MAX,
    UNEQUAL,
    Watched,
    owned_by,
    watched_by,
)
from projector.declare import Aggregate, Declaration, Projection

FINDINGS_MAX: Final = 1_000
"""So many at most are looked at again, and again, until they are mended."""

PRESENT: Final = "SELECT projection FROM projector.checkpoint WHERE projection = ANY($1::text[])"
KNOWN: Final = """
SELECT aggregate, counter, key FROM projector.counter_finding
ORDER BY found_at, aggregate, counter, key LIMIT $1
"""
PUT: Final = """
INSERT INTO projector.counter_finding (aggregate, counter, key, kept, counted)
VALUES ($1, $2, $3, $4, $5) ON CONFLICT (aggregate, counter, key)
DO UPDATE SET kept = excluded.kept, counted = excluded.counted
"""
FORGET: Final = """
DELETE FROM projector.counter_finding WHERE aggregate = $1 AND counter = $2 AND key = $3
"""


class Wrong(NamedTuple):
    """A key of a counter: stored + pending is `kept`, and there are `counted` rows."""

    aggregate: str
    counter: str
    key: str
    kept: int
    counted: int

    @property
    def of(self) -> tuple[str, str, str]:
        """Which counter of which key."""
        return self[:3]


async def present(
    connection: asyncpg.Connection, declarations: Iterable[Declaration], schema: str
) -> list[Watched]:
    """The counters that the database keeps."""
    declarations = list(declarations)
    names = [d.name for d in declarations]
    there = {row[0] for row in await connection.fetch(PRESENT, names)}
    aggregates = [d for d in declarations if isinstance(d, Aggregate) and d.name in there]
    tables = [d.name for d in declarations if isinstance(d, Projection) and d.name in there]
    return watched_by(aggregates, tables, schema)


async def find_wrong(
    connection: asyncpg.Connection, counters: Sequence[Watched], dids: Sequence[str]
) -> list[Wrong]:
    """Counters of accounts' keys that are wrong at two looks in turn: between two statements a
    table may be swapped."""
    found: list[Wrong] = []
    for watched in counters:
        rows = await _unequal(connection, watched, BY_KEYS, list(dids))
        for did in dids:
            if watched.aggregate.key != "did":
                rows += await _unequal(connection, watched, BY_RANGE, *owned_by(did))
        found += rows
    return await still_wrong(connection, counters, [wrong.of for wrong in found])


async def still_wrong(
    connection: asyncpg.Connection,
    counters: Sequence[Watched],
    keys: Sequence[tuple[str, str, str]],
) -> list[Wrong]:
    """Those of these keys that are wrong."""
    found: list[Wrong] = []
    for watched in counters:
        mine = [k for a, c, k in keys if (a, c) == (watched.aggregate.name, watched.name)]
        if mine:
            found += await _unequal(connection, watched, BY_KEYS, mine[:KEYS_MAX])
    return found


async def _unequal(
    connection: asyncpg.Connection, watched: Watched, condition: str, *values: object
) -> list[Wrong]:
    sql = watched.statement(condition, UNEQUAL)
    rows = await connection.fetch(sql, *values, timeout=AUDIT_SECONDS_MAX)
    name, counter = watched.aggregate.name, watched.name
    return [
        Wrong(name, counter, key, stored + pending, counted)
        for key, stored, pending, _, counted in rows
    ]


async def put_wrong(connection: asyncpg.Connection, wrong: Sequence[Wrong]) -> None:
    """Keeps what was found."""
    if wrong:
        await connection.executemany(PUT, wrong)


async def look_again(connection: asyncpg.Connection, counters: Sequence[Watched]) -> None:
    """Forgets what was mended since it was found."""
    known = [tuple(row) for row in await connection.fetch(KNOWN, FINDINGS_MAX)]
    if not known:
        return
    wrong = await still_wrong(connection, counters, known)
    await put_wrong(connection, wrong)
    gone = sorted(set(known) - {each.of for each in wrong})
    if gone:
        await connection.executemany(FORGET, gone)
