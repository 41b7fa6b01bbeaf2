"""Aggregates built beside the live ones: by GROUP BY in one snapshot, then by deltas.

Exact without holding anybody up: first the writers of the rows are told to feed the new aggregate
too; then one transaction counts the rows of its snapshot and throws away the deltas that this
snapshot sees, since the rows that they tell of are counted. What is left are the deltas of all
that came after. From then on stored + pending is the count, as of every aggregate (invariant 7).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from projector import derived, shadow
from projector.aggregate import AUDIT_SECONDS_MAX
from projector.declare import Aggregate, Fed
from projector.errors import SchemaMismatch
from projector.home import Home, counting, listed, quoted

FEED: Final = """
INSERT INTO projector.feed (projection, aggregate, counter, by_column, child, unless_column)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT DO NOTHING
"""
CHANGED: Final = """
UPDATE projector.checkpoint SET edits = edits + 1 WHERE projection = ANY($1::text[])
"""
# An aggregate's checkpoint is the highest offset whose deltas it has: here, whose rows it counted.
COUNTED_THROUGH: Final = """
UPDATE projector.checkpoint SET log_offset = (
    SELECT max(c.log_offset) FROM projector.checkpoint AS c
    JOIN projector.feed AS f ON f.projection = c.projection WHERE f.aggregate = $1)
WHERE projection = $1
"""
THROW_AWAY: Final = "DELETE FROM projector.outbox WHERE aggregate = $1"


async def feed(
    connection: asyncpg.Connection, aggregate: Fed, home: Home, shadows: Sequence[str]
) -> None:
    """Has the rows feed the shadow from now on; `shadows` are the projections that are built too.

    Raises `SchemaMismatch` where one of the projections is not in the database.
    """
    feeds = shadow.feeders_of(aggregate, shadows)
    feeders = sorted({name for name, *_ in feeds})
    async with connection.transaction():
        missing = set(feeders) - (await shadow.lock(connection, feeders)).keys()
        if missing:
            raise SchemaMismatch(
                f"{aggregate.name} counts {', '.join(sorted(missing))}, which is not in the "
                "database; run: projector init"
            )
        await connection.executemany(FEED, [(f[0], home.name, *f[1:]) for f in feeds])
        await connection.execute(CHANGED, feeders)
    crash_point("rebuild.fed")  # Recovery: it is fed already, and counted next.


def count_statement(aggregate: Aggregate, into: str, bases: Mapping[str, str]) -> str:
    """Fills an empty table of counters from the rows; `bases` are the tables by counter."""
    names = tuple(aggregate.counters)
    parts = []
    for name, count in aggregate.counters.items():
        ones = ", ".join(
            f"{'count(*)' if n == name else '0::bigint'} AS {quoted(n)}" for n in names
        )
        by = quoted(count.by)
        parts.append(
            f"SELECT {by}::text AS k, {ones} FROM {bases[name]} WHERE {by} IS NOT NULL"
            f"{counting(count)} GROUP BY 1"
        )
    sums = ", ".join(f"sum({quoted(n)})::bigint" for n in names)
    return (
        f"INSERT INTO {into} ({quoted(aggregate.key)}, {listed(names)})"
        f" SELECT k, {sums} FROM ({' UNION ALL '.join(parts)}) AS c GROUP BY k"
    )


def all_statement(aggregate: Fed, into: str, bases: Mapping[str, str]) -> str:
    """Fills an empty table from all rows; `bases` are the tables by counter, or by source."""
    if isinstance(aggregate, Aggregate):
        return count_statement(aggregate, into, bases)
    return derived.fill_statement(aggregate, into, bases)


async def count(
    connection: asyncpg.Connection, aggregate: Fed, home: Home, bases: Mapping[str, str]
) -> None:
    """Counts all rows, or derives from them, in one snapshot, into the shadow, which is fed."""
    table = f"{quoted(home.schema)}.{quoted(aggregate.table)}"
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("SET LOCAL work_mem = '128MB'")
        definitions = await shadow.without_indexes(connection, table)
        sql = all_statement(aggregate, table, bases)
        await connection.execute(sql, timeout=AUDIT_SECONDS_MAX)
        for definition in definitions:
            await connection.execute(definition, timeout=AUDIT_SECONDS_MAX)
        await connection.execute(THROW_AWAY, home.name)
        await connection.execute(COUNTED_THROUGH, home.name)
        await shadow.enter(connection, home, shadow.CATCH_UP)
    crash_point("rebuild.counted")  # Recovery: deltas are merged from here on.
    await connection.execute(f"ANALYZE {table}")
