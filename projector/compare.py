"""What was built beside what is live, with both at the same offset.

First by checksums, table by table; where these differ, row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec
from msgspec.structs import replace

from events.history import WholeLog
from projector.aggregate import AUDIT_SECONDS_MAX
from projector.checksums import columns_of_both, none_waits, same_counts, same_rows
from projector.declare import AccountProjection, Aggregate, Child, Derived, Fed, Projection
from projector.derived import ROWS
from projector.differences import ALTERED, EXTRA, LISTED, MISSING, ROW, WAITING, Difference
from projector.home import Home, listed, quoted

EXPLAINED_ACCOUNTS_MAX: Final = 50
"""Of how many accounts the log is asked why they differ."""

REFUSED: Final = """
SELECT log_offset FROM projector.dead_letter WHERE projection = $1 AND log_offset = ANY($2)
"""


class RowDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is live otherwise than rebuilt, and the likely reason."""

    difference: Difference
    reason: str


class CountDifference(msgspec.Struct, frozen=True, kw_only=True):
    """A counter, stored and pending together, that is live otherwise than rebuilt."""

    aggregate: str
    counter: str
    key: str
    live: int
    rebuilt: int


class Comparison(msgspec.Struct, kw_only=True):
    """All differences of a rebuild: how many there are, and the first of them."""

    rows: int = 0
    counts: int = 0
    row_differences: list[RowDifference] = []
    count_differences: list[CountDifference] = []

    @property
    def is_equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.rows or self.counts)


async def compare_rows(
    connection: asyncpg.Connection,
    projection: Projection,
    live: Home,
    rebuilt: Home,
    differences_max: int,
) -> tuple[int, list[Difference]]:
    """How many rows differ, and the first of them; to be called inside one snapshot."""
    table = projection.table
    total, found = await _compare_children(connection, projection, live, rebuilt, differences_max)
    pairs = [(ROW, live.base(table), rebuilt.base(table), "")]
    if table.unique:
        pairs.append((WAITING, live.shelf(table), rebuilt.shelf(table), ""))
        # The list is shared: this projection's rows are those of its collection.
        own = f" WHERE split_part(uri, '/', 4) = '{projection.collection}'"
        pairs.append((LISTED, live.list(table), rebuilt.list(table), own))
    for part, one, other, condition in pairs:
        both = await columns_of_both(connection, one, other)
        columns = [column for column in both if column not in table.kept]
        if await same_rows(connection, one, other, columns, condition):
            continue
        sql = compare_statement(one, other, columns, condition)
        rows = await connection.fetch(
            sql, max(differences_max - len(found), 1), timeout=AUDIT_SECONDS_MAX
        )
        total += rows[0]["total"] if rows else 0
        found += [_difference(projection.name, part, row, _did(row)) for row in rows]
    return total, found[:differences_max]


async def _compare_children(
    connection: asyncpg.Connection,
    projection: Projection,
    live: Home,
    rebuilt: Home,
    differences_max: int,
) -> tuple[int, list[Difference]]:
    """The same for child tables: records whose rows there differ."""
    total = 0
    found: list[Difference] = []
    for child in projection.every_child:
        one, other = live.child(child), rebuilt.child(child)
        if await same_rows(connection, one, other, child.columns):
            continue
        sql = compare_statement(_grouped(child, one), _grouped(child, other), (child.name,), "")
        room = max(differences_max - len(found), 1)
        rows = await connection.fetch(sql, room, timeout=AUDIT_SECONDS_MAX)
        total += rows[0]["total"] if rows else 0
        found += [
            replace(
                _difference(projection.name, ROW, row, _did(row)),
                kind=ALTERED,
                columns=(child.name,),
            )
            for row in rows
        ]
    return total, found


def _grouped(child: Child, table: str) -> str:
    """The rows of each record as one cell, under the table's name."""
    key, cells = quoted(child.columns[0]), listed(child.columns)
    return (
        f"(SELECT {key} AS uri, jsonb_agg(jsonb_build_array({cells}) ORDER BY {cells})"
        f" AS {quoted(child.name)} FROM {table} GROUP BY 1) AS grouped"
    )


def _did(row: asyncpg.Record) -> str:
    return str(row["uri"].split("/")[2])


def compare_statement(live: str, rebuilt: str, columns: Sequence[str], condition: str) -> str:
    """Every uri of which one table has a row and the other not, or another; $1 rows at most."""
    ones = ", ".join(f"l.{quoted(c)}" for c in columns)
    others = ", ".join(f"r.{quoted(c)}" for c in columns)
    which = ", ".join(
        f"CASE WHEN l.{quoted(c)} IS DISTINCT FROM r.{quoted(c)} THEN '{c}' END" for c in columns
    )
    return f"""
SELECT uri, l.uri IS NULL AS missing, r.uri IS NULL AS extra,
    array_remove(ARRAY[{which}], NULL) AS columns, count(*) OVER () AS total
FROM (SELECT * FROM {live}{condition}) AS l
FULL JOIN (SELECT * FROM {rebuilt}{condition}) AS r USING (uri)
WHERE l.uri IS NULL OR r.uri IS NULL OR ({ones}) IS DISTINCT FROM ({others})
ORDER BY uri LIMIT $1
"""


def _difference(projection: str, part: str, row: asyncpg.Record, did: str) -> Difference:
    kind = MISSING if row["missing"] else EXTRA if row["extra"] else ALTERED
    return Difference(
        projection=projection,
        did=did,
        uri=row["uri"],
        part=part,
        kind=kind,
        columns=tuple(row["columns"]) if kind == ALTERED else (),
    )


async def compare_tables(
    connection: asyncpg.Connection,
    declaration: Projection | AccountProjection,
    live_version: int,
    through: int,
    homes: tuple[Home, Home],
    *,
    differences_max: int,
) -> tuple[int, list[RowDifference]]:
    """How many rows of what is live and what was built differ, and why as far as the log tells."""
    if isinstance(declaration, Projection):
        total, found = await compare_rows(connection, declaration, *homes, differences_max)
        return total, await reasons(connection, declaration, live_version, through, found)
    total, found = await _compare_accounts(connection, declaration, homes, differences_max)
    return total, [RowDifference(difference=d, reason="altered by hand") for d in found]


async def _compare_accounts(
    connection: asyncpg.Connection,
    accounts: AccountProjection,
    homes: tuple[Home, Home],
    differences_max: int,
) -> tuple[int, list[Difference]]:
    one, other = (f"{quoted(home.schema)}.{quoted(accounts.table)}" for home in homes)
    if await same_rows(connection, one, other, accounts.columns):
        return 0, []
    key, columns = quoted(accounts.key), accounts.columns[1:]
    one, other = (f"(SELECT {key} AS uri, {listed(columns)} FROM {t}) AS t" for t in (one, other))
    sql = compare_statement(one, other, columns, "")
    rows = await connection.fetch(sql, differences_max, timeout=AUDIT_SECONDS_MAX)
    found = [_difference(accounts.name, ROW, row, row["uri"]) for row in rows]
    return (rows[0]["total"] if rows else 0), found


async def compare_fed(
    connection: asyncpg.Connection, fed: Fed, live: Home, rebuilt: Home, differences_max: int
) -> tuple[int, list[CountDifference]]:
    """How many counters, or records of a derived table, differ, and the first of them; to be called
    inside one snapshot."""
    if isinstance(fed, Aggregate):
        return await compare_counts(connection, fed, live, rebuilt, differences_max)
    return await _compare_derived(connection, fed, live, rebuilt, differences_max)


async def compare_counts(
    connection: asyncpg.Connection,
    aggregate: Aggregate,
    live: Home,
    rebuilt: Home,
    differences_max: int,
) -> tuple[int, list[CountDifference]]:
    """How many counters differ, and the first of them; to be called inside one snapshot."""
    one, other = (f"{quoted(h.schema)}.{quoted(aggregate.table)}" for h in (live, rebuilt))
    has = set(await columns_of_both(connection, one, other))
    counters = [counter for counter in aggregate.counters if counter in has]
    names = (live.name, rebuilt.name)
    if not counters or await same_counts(connection, (one, other), aggregate.key, counters, names):
        return 0, []
    total = 0
    found: list[CountDifference] = []
    for counter in counters:
        rows = await connection.fetch(
            counts_statement(aggregate, counter, (one, other)), live.name, rebuilt.name, counter,
            max(differences_max - len(found), 1), timeout=AUDIT_SECONDS_MAX,
        )  # fmt: skip
        total += rows[0]["total"] if rows else 0
        found += [
            CountDifference(
                aggregate=aggregate.name, counter=counter, key=row["k"], live=row["live"],
                rebuilt=row["rebuilt"],
            )
            for row in rows
        ]  # fmt: skip
    return total, found[:differences_max]


async def _compare_derived(
    connection: asyncpg.Connection, derived: Derived, live: Home, rebuilt: Home, most: int
) -> tuple[int, list[CountDifference]]:
    """Records of which one table has rows that the other has not, and how many; but for those that
    wait to be made anew."""
    one, other = (f"{quoted(h.schema)}.{quoted(derived.table)}" for h in (live, rebuilt))
    names = (live.name, rebuilt.name)
    is_settled = await none_waits(connection, names)
    if is_settled and await same_rows(connection, one, other, derived.columns):
        return 0, []
    sql = derived_statement(derived, (one, other))
    rows = await connection.fetch(sql, list(names), most, timeout=AUDIT_SECONDS_MAX)
    found = [
        CountDifference(
            aggregate=derived.name, counter=ROWS, key=row["k"], live=row["live"],
            rebuilt=row["rebuilt"],
        )
        for row in rows
    ]  # fmt: skip
    return (rows[0]["total"] if rows else 0), found


def derived_statement(derived: Derived, tables: Sequence[str]) -> str:
    """Every record whose rows differ: how many only the one table has, and only the other; $1 the
    names in the outbox, $2 records at most."""
    columns, key = listed(derived.columns), quoted(derived.key)
    one, other = (f"SELECT {columns} FROM {table}" for table in tables)
    return f"""
WITH wrong AS (
    SELECT {key} AS k, 1 AS l, 0 AS r FROM ({one} EXCEPT ALL {other}) AS e
    UNION ALL SELECT {key}, 0, 1 FROM ({other} EXCEPT ALL {one}) AS m),
waiting AS (SELECT DISTINCT k FROM projector.outbox, unnest(keys) AS u(k)
    WHERE aggregate = ANY($1::text[]))
SELECT k, sum(l)::bigint AS live, sum(r)::bigint AS rebuilt, count(*) OVER () AS total FROM wrong
WHERE NOT EXISTS (SELECT FROM waiting WHERE waiting.k = wrong.k) GROUP BY k ORDER BY k LIMIT $2
"""


def counts_statement(aggregate: Aggregate, counter: str, tables: Sequence[str]) -> str:
    """Every key where stored + pending differ between the two; $1 and $2 their names in the
    outbox, $3 the counter, $4 keys at most."""
    key, column = quoted(aggregate.key), quoted(counter)
    sides = ", ".join(
        f"{side} AS (SELECT k, sum(n)::bigint AS n FROM (SELECT {key}::text AS k, {column}::bigint"
        f" AS n FROM {table} UNION ALL SELECT u.k, u.d FROM projector.outbox,"
        f" unnest(keys, deltas) AS u(k, d) WHERE aggregate = ${i}::text AND counter = $3::text)"
        " AS s GROUP BY k)"
        for i, (side, table) in enumerate(zip(("l", "r"), tables, strict=True), 1)
    )
    return f"""
WITH {sides}
SELECT k, coalesce(l.n, 0) AS live, coalesce(r.n, 0) AS rebuilt, count(*) OVER () AS total
FROM l FULL JOIN r USING (k) WHERE coalesce(l.n, 0) <> coalesce(r.n, 0) ORDER BY k LIMIT $4
"""


async def reasons(
    connection: asyncpg.Connection,
    projection: Projection,
    live_version: int | None,
    through: int,
    found: Sequence[Difference],
) -> list[RowDifference]:
    """The differences with the likely reason of each, as far as the log tells."""
    if live_version is not None and live_version != projection.version:
        changed = f"version {live_version} was another declaration than {projection.version}"
        return [RowDifference(difference=d, reason=changed) for d in found]
    dids = list(dict.fromkeys(d.did for d in found))[:EXPLAINED_ACCOUNTS_MAX]
    events = await WholeLog().of_accounts(connection, dids, 0, through, projection.collections)
    offsets: dict[str, list[int]] = {}
    for event in events:
        if event.kind == "commit":
            offsets.setdefault(event.uri, []).append(event.log_offset)
    every = [offset for kept in offsets.values() for offset in kept]
    refused = {r["log_offset"] for r in await connection.fetch(REFUSED, projection.name, every)}
    return [
        RowDifference(
            difference=d, reason=_reason(d, offsets.get(d.uri, []), refused, d.did in dids)
        )
        for d in found
    ]


def _reason(found: Difference, offsets: Sequence[int], refused: set[int], asked: bool) -> str:
    if not asked:
        return "not looked up"
    last = f"event {offsets[-1]}" if offsets else "the account's removal"
    if not offsets:
        return "added by hand: no event says so"
    if refused.intersection(offsets):
        return f"a dead letter of {found.projection} then, valid to this program"
    if found.kind == MISSING:
        return f"lost, or deleted by hand: {last} says that it is there"
    if found.kind == EXTRA:
        return f"should have gone with {last}, or was added by hand"
    return f"altered by hand, or by an older program: {last} says otherwise"
