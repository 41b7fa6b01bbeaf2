"""Counters against the rows they count, key by key; and putting them right on a live system.

With the checkpoints of the projections counted held, no row moves and no delta is added; deltas may
be merged meanwhile. One statement is one snapshot, in which a delta is either pending or stored, so
stored + pending of it stays what it is until the transaction ends, and what is added to make it
equal the rows is exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import msgspec

from projector.aggregate import prune_statement
from projector.declare import Aggregate, Count, Declaration
from projector.home import Counter, counting, listed, quoted
from projector.statements import live

KEYS_MAX: Final = 10_000
"""The most keys asked for, or corrected, in one statement."""

BY_KEYS: Final = "{0} = ANY($1::text[])"
BY_RANGE: Final = "{0} >= $1 AND {0} < $2"
ALL: Final = "{0} IS NOT NULL"
UNEQUAL: Final = """
WHERE coalesce(s.n, 0) + coalesce(p.n, 0) <> coalesce(c.n, 0) OR coalesce(s.n, 0) + p.low < 0
"""


@dataclass(frozen=True, slots=True, eq=False)
class Watched:
    """One counter of an aggregate, and what it counts."""

    aggregate: Aggregate
    name: str
    count: Count
    schema: str

    @property
    def fed(self) -> Counter:
        """The counter as the rows' projection feeds it."""
        count = self.count
        return Counter(self.aggregate.name, self.name, count.by, count.child, count.unless)

    def statement(self, condition: str, where: str = "") -> str:
        """What is stored, pending, the lowest that pending deltas come to on their way, and the
        rows, of keys that meet a condition; keys of which all is nothing are left out."""
        schema, by = quoted(self.schema), quoted(self.count.by)
        key, counter = quoted(self.aggregate.key), quoted(self.name)
        base = live(self.count.of, self.schema).counted(self.count)
        return f"""
WITH s AS MATERIALIZED (SELECT {key}::text AS k, {counter}::bigint AS n
    FROM {schema}.{quoted(self.aggregate.table)} WHERE {condition.format(key)}),
d AS MATERIALIZED (SELECT u.k, u.d, o.id
    FROM projector.outbox AS o, unnest(o.keys, o.deltas) AS u(k, d)
    WHERE o.aggregate = '{self.aggregate.name}' AND o.counter = '{self.name}'
        AND {condition.format("u.k")}),
p AS (SELECT k, sum(d)::bigint AS n, min(run)::bigint AS low
    FROM (SELECT k, d, sum(d) OVER (PARTITION BY k ORDER BY id) AS run FROM d) AS r GROUP BY k),
c AS MATERIALIZED (SELECT {by}::text AS k, count(*) AS n
    FROM {base} WHERE {condition.format(by)}{counting(self.count)} GROUP BY 1)
SELECT k, coalesce(s.n, 0), coalesce(p.n, 0), least(coalesce(p.low, 0), 0), coalesce(c.n, 0)
FROM s FULL JOIN p USING (k) FULL JOIN c USING (k) {where} ORDER BY k
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """One key of a counter in one snapshot.

    `low` is the lowest that its pending deltas come to while they are merged in their order, at
    most 0; `counted` are its rows.
    """

    stored: int
    pending: int
    low: int
    counted: int


NOTHING: Final = Compared(0, 0, 0, 0)


class CounterChange(msgspec.Struct, frozen=True, kw_only=True):
    """A counter of a key that is not what it must be: `true`, once the rows are right."""

    aggregate: str
    counter: str
    key: str
    stored: int
    pending: int
    true: int


Keys = Mapping[Watched, Collection[str]]
"""Keys by the counter that is concerned."""


def watched_by(
    declarations: Iterable[Declaration], counted: Collection[str], schema: str
) -> list[Watched]:
    """The counters that count rows of these projections, in the order of their names."""
    return [
        Watched(aggregate, name, aggregate.counters[name], schema)
        for aggregate in sorted(declarations, key=lambda d: d.name)
        if isinstance(aggregate, Aggregate)
        for name in sorted(aggregate.counters)
        if aggregate.counters[name].of.name in counted
    ]


def owned_by(did: str) -> tuple[str, str]:
    """The range of the at-uris of an account: from the one, up to and without the other."""
    return f"at://{did}/", f"at://{did}0"


async def compare(
    connection: asyncpg.Connection, watched: Watched, keys: Collection[str]
) -> dict[str, Compared]:
    """What a counter is of these keys; in one snapshot for each `KEYS_MAX` of them."""
    found: dict[str, Compared] = {}
    for part in parts(sorted(keys), KEYS_MAX):
        rows = await connection.fetch(watched.statement(BY_KEYS), part)
        found.update((key, Compared(*cells)) for key, *cells in rows)
    return {key: found.get(key, NOTHING) for key in keys}


async def compare_owned(
    connection: asyncpg.Connection, watched: Watched, did: str
) -> dict[str, Compared]:
    """The same of all at-uris of an account, those that are not in order."""
    rows = await connection.fetch(watched.statement(BY_RANGE, UNEQUAL), *owned_by(did))
    return {key: Compared(*cells) for key, *cells in rows}


async def disordered(
    connection: asyncpg.Connection, watched: Watched, keys_max: int, seconds: float
) -> list[str]:
    """Keys, so many at most, of which the counter is not what its rows say, or would fall below
    zero on the way there. Reads the whole table that is counted."""
    sql = f"{watched.statement(ALL, UNEQUAL)} LIMIT {keys_max}"
    return [row[0] for row in await connection.fetch(sql, timeout=seconds)]


@dataclass(frozen=True, slots=True)
class Correction:
    """What to do about one key of a counter: add `stored` to it, and put `delta` in the outbox."""

    stored: int
    delta: int


def correction(compared: Compared, moved: int) -> Correction:
    """What to do about a key whose rows have just been moved by so many, the delta not yet put.

    Where the counter was in order the rows' move goes the usual way (invariant 6). Where it was
    not, what is missing is added at once. A counter that would fall below zero while its deltas are
    merged, though not in the end, is lifted by as much for the time being.
    """
    short = compared.counted - compared.stored - compared.pending
    stored, delta = (0, moved) if short == moved else (short, 0)
    lift = max(0, -(compared.stored + stored + compared.low))
    return Correction(stored + lift, delta - lift)


async def correct(
    connection: asyncpg.Connection,
    aggregate: Aggregate,
    schema: str,
    added: Mapping[str, Mapping[str, int]],
) -> None:
    """Adds to stored counters: by key and counter; rows of keys that count nothing go.

    Keys are in order, as the merging of deltas has them, so that the two do not deadlock.
    """
    table, key = f"{quoted(schema)}.{quoted(aggregate.table)}", quoted(aggregate.key)
    names = tuple(aggregate.counters)
    arrays = ", ".join(f"${i}::bigint[]" for i in range(2, len(names) + 2))
    sums = ", ".join(f"{quoted(n)} = a.{quoted(n)} + excluded.{quoted(n)}" for n in names)
    add = (
        f"INSERT INTO {table} AS a ({key}, {listed(names)})"
        f" SELECT * FROM unnest($1::text[], {arrays}) AS u ORDER BY 1"
        f" ON CONFLICT ({key}) DO UPDATE SET {sums}"
    )
    prune = prune_statement(aggregate, schema)
    for part in parts(sorted(added), KEYS_MAX):
        columns = [[added[key].get(name, 0) for key in part] for name in names]
        await connection.execute(add, part, *columns)
        await connection.execute(prune, part)


def parts(keys: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """The keys in parts of at most that size."""
    return (keys[i : i + size] for i in range(0, len(keys), size))
