"""Aggregates: deltas from the outbox into counters, exactly once; and the GROUP BY that audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from projector.declare import Aggregate, Fed
from projector.errors import CheckpointMoved, Corruption
from projector.home import Home, counting, listed, quoted
from projector.snapshots import snapshot, tables_of
from projector.window_traces import TracedWindow

AUDIT_SECONDS_MAX = 86_400.0
"""The longest that one statement of an audit may take; a large database takes its time."""

MOVE_CHECKPOINT = """
UPDATE projector.checkpoint
SET log_offset = greatest(log_offset, $3), events = events + $4, events_per_second = $5,
    updated_at = now()
WHERE projection = $1 AND version = $2
"""


@dataclass(frozen=True, slots=True)
class Merged:
    """What a merge did: outbox rows taken, their deltas, and the highest offset among them.

    `windows` are those whose deltas they were, as far as they are traced.
    """

    rows: int
    deltas: int
    through: int
    windows: tuple[TracedWindow, ...] = ()


class Taker:
    """Takes what waits in the outbox for one aggregate or derived table, and does what it says."""

    def __init__(self, fed: Fed, home: Home, outbox_rows_max: int) -> None:
        self.name = home.name
        self.version = fed.version
        self.outbox_rows_max = outbox_rows_max

    async def take(self, connection: asyncpg.Connection) -> Merged:
        """Takes the oldest outbox rows and does what they say, in the caller's transaction."""
        raise NotImplementedError

    async def merge(self, connection: asyncpg.Connection, events_per_second: float = 0.0) -> Merged:
        """Takes the oldest that waits, in one transaction; `rows` is 0 when nothing does.

        Raises `CheckpointMoved` where the table is of another version by now.
        """
        async with connection.transaction():
            merged = await self.take(connection)
            if merged.rows:
                # Recovery: the deltas are in the outbox as before, the counters without them.
                crash_point("merge.added")
                moved = await connection.execute(
                    MOVE_CHECKPOINT, self.name, self.version, merged.through, merged.deltas,
                    events_per_second,
                )  # fmt: skip
                if moved != "UPDATE 1":
                    raise CheckpointMoved(self.name)
                crash_point("merge.written")  # Recovery: the same; the next merge takes them.
        if merged.rows:
            crash_point("merge.committed")  # Recovery: these deltas are gone, and counted.
        return merged


class Merger(Taker):
    """Adds deltas from the outbox to one aggregate's counters."""

    def __init__(self, aggregate: Aggregate, home: Home, outbox_rows_max: int = 24) -> None:
        super().__init__(aggregate, home, outbox_rows_max)
        self.merge_sql = merge_statement(aggregate, home.schema)
        self.prune_sql = prune_statement(aggregate, home.schema)

    async def take(self, connection: asyncpg.Connection) -> Merged:
        """Merges the oldest waiting deltas.

        Deleting the outbox rows and adding their sums is one statement, so whoever runs it, and
        however often, each delta is added once. Raises `Corruption` where a counter would fall
        below zero.
        """
        row = await connection.fetchrow(self.merge_sql, self.name, self.outbox_rows_max)
        assert row is not None
        rows, deltas, through, empty, negative, traced = row
        if negative:
            raise Corruption(
                f"{self.name}: a counter of {negative[0]!r} would fall below zero; run: projector "
                "heal --all-differences"
            )
        if empty:
            await connection.execute(self.prune_sql, empty)
        return Merged(rows, deltas, through, traced_windows(traced))


TRACED: Final = """
(SELECT array_agg(DISTINCT ARRAY[projection, through_offset::text, traceparent])
FROM taken JOIN projector.window_trace USING (projection, through_offset))
"""
"""Of windows whose outbox rows were taken, and that are traced: projection, offset, traceparent."""


def traced_windows(found: Sequence[Sequence[str]] | None) -> tuple[TracedWindow, ...]:
    """What `TRACED` comes to."""
    return tuple(TracedWindow(p, int(offset), parent) for p, offset, parent in found or ())


def merge_statement(aggregate: Aggregate, schema: str) -> str:
    """Takes the oldest outbox rows ($1 aggregate, $2 at most) and adds their sums.

    Returns rows taken, deltas, highest offset, the keys with no count left, the keys with a count
    below zero, and of the windows that are traced projection, offset and traceparent. Keys are in
    order, so that no two transactions deadlock.
    """
    table = f"{quoted(schema)}.{quoted(aggregate.table)}"
    names = tuple(aggregate.counters)
    key = quoted(aggregate.key)
    sums = ", ".join(
        f"coalesce(sum(d) FILTER (WHERE counter = '{name}'), 0) AS {quoted(name)}" for name in names
    )
    added = ", ".join(f"{quoted(n)} = a.{quoted(n)} + excluded.{quoted(n)}" for n in names)
    zero = " AND ".join(f"{quoted(name)} = 0" for name in names)
    below = " OR ".join(f"{quoted(name)} < 0" for name in names)
    return f"""
WITH taken AS (
    DELETE FROM projector.outbox WHERE (aggregate, id) IN (
        SELECT aggregate, id FROM projector.outbox WHERE aggregate = $1 ORDER BY id LIMIT $2)
    RETURNING counter, keys, deltas, projection, through_offset),
sums AS (
    SELECT k, {sums} FROM taken, unnest(keys, deltas) AS u(k, d) GROUP BY k),
merged AS (
    INSERT INTO {table} AS a ({key}, {listed(names)})
    SELECT k, {listed(names)} FROM sums WHERE NOT ({zero}) ORDER BY k
    ON CONFLICT ({key}) DO UPDATE SET {added}
    RETURNING {key} AS k, {zero} AS empty, {below} AS negative)
SELECT (SELECT count(*) FROM taken), (SELECT coalesce(sum(cardinality(keys)), 0) FROM taken),
    (SELECT coalesce(max(through_offset), 0) FROM taken),
    (SELECT array_agg(k::text ORDER BY k) FROM merged WHERE empty),
    (SELECT array_agg(k::text ORDER BY k) FROM merged WHERE negative), {TRACED}
"""


def prune_statement(aggregate: Aggregate, schema: str) -> str:
    """Deletes the rows of keys ($1) that count nothing: no row and zeros mean the same."""
    zero = " AND ".join(f"{quoted(c)} = 0" for c in (*aggregate.counters, *aggregate.foreign))
    table = f"{quoted(schema)}.{quoted(aggregate.table)}"
    return f"DELETE FROM {table} WHERE {quoted(aggregate.key)} = ANY($1::text[]) AND {zero}"


@dataclass(frozen=True, slots=True)
class Difference:
    """A counter that is not what its rows say: stored + pending against the rows counted."""

    aggregate: str
    counter: str
    key: str
    stored: int
    pending: int
    counted: int


def audit_statement(aggregate: Aggregate, counter: str, schema: str) -> str:
    """Every key where stored counter + pending deltas is not count(*) (invariant 7); $1 rows at
    most. To be run with all others of an audit in one snapshot."""
    count = aggregate.counters[counter]
    base = f"{quoted(schema)}.{quoted(count.table)}"
    stored = f"{quoted(schema)}.{quoted(aggregate.table)}"
    return f"""
WITH s AS (SELECT {quoted(aggregate.key)}::text AS k, {quoted(counter)}::bigint AS n FROM {stored}
    WHERE {quoted(counter)} <> 0),
p AS (SELECT k, sum(d)::bigint AS n FROM projector.outbox, unnest(keys, deltas) AS u(k, d)
    WHERE aggregate = '{aggregate.name}' AND counter = '{counter}' GROUP BY k),
c AS (SELECT {quoted(count.by)}::text AS k, count(*) AS n FROM {base}
    WHERE {quoted(count.by)} IS NOT NULL{counting(count)} GROUP BY 1)
SELECT k, coalesce(s.n, 0), coalesce(p.n, 0), coalesce(c.n, 0)
FROM s FULL JOIN p USING (k) FULL JOIN c USING (k)
WHERE coalesce(s.n, 0) + coalesce(p.n, 0) <> coalesce(c.n, 0) ORDER BY k LIMIT $1
"""


async def audit(
    connection: asyncpg.Connection,
    aggregates: Sequence[Aggregate],
    schema: str,
    differences_max: int = 1000,
) -> list[Difference]:
    """Compares every counter of every key with its rows, in one snapshot of a live database."""
    found: list[Difference] = []
    async with snapshot(connection, tables_of(aggregates, schema)):
        for aggregate in aggregates:
            for counter in aggregate.counters:
                sql = audit_statement(aggregate, counter, schema)
                found += [
                    Difference(aggregate.name, counter, *row)
                    for row in await connection.fetch(
                        sql, differences_max, timeout=AUDIT_SECONDS_MAX
                    )
                ]
    return found


async def audited_keys(
    connection: asyncpg.Connection, aggregates: Sequence[Aggregate], schema: str
) -> int:
    """How many keys have counters, over all aggregates."""
    return sum(
        [
            int(
                await connection.fetchval(
                    f"SELECT count(*) FROM {quoted(schema)}.{quoted(a.table)}",
                    timeout=AUDIT_SECONDS_MAX,
                )
            )
            for a in aggregates
        ]
    )
