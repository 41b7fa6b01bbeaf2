"""Derived tables: rows made anew of the rows of projections, for every record that was touched.

Which records that are, the projections tell through the outbox, in the transactions that change
their rows. Taking outbox rows, deleting what the derived table has of those records, and making
their rows anew is one statement: it sees the projections' rows as of one snapshot, with all that
they told until then. So in every snapshot, for every record of which no word waits in the outbox,
the derived table has just the rows that those of the projections make (invariant 7).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import asyncpg

from projector.aggregate import (
    AUDIT_SECONDS_MAX,
    TRACED,
    Difference,
    Merged,
    Taker,
    traced_windows,
)
from projector.declare import Derived, Projection
from projector.errors import CheckpointMoved
from projector.home import Home, listed, quoted
from projector.snapshots import snapshot, tables_of
from projector.statements import live

HOLD: Final = """
SELECT FROM projector.checkpoint WHERE projection = $1 AND version = $2 FOR UPDATE
"""
TOUCH: Final = """
INSERT INTO projector.outbox (aggregate, counter, keys, deltas, projection, through_offset)
SELECT $1, $2, $3::text[], array_fill(0, ARRAY[cardinality($3::text[])]), c.projection, c.log_offset
FROM projector.checkpoint AS c WHERE c.projection = $4
"""


Homes = Callable[[Projection], Home]
"""Says where a projection is at home."""
Bases = Mapping[str, str]
"""The table that each source reads, by the source's name."""


class Refresher(Taker):
    """Makes the rows of touched records anew, as `Merger` adds deltas to counters."""

    def __init__(
        self,
        derived: Derived,
        home: Home,
        outbox_rows_max: int = 24,
        homes: Homes | None = None,
    ) -> None:
        super().__init__(derived, home, outbox_rows_max)
        bases = bases_of(derived, homes or (lambda of: live(of, home.schema)))
        self.refresh_sql = refresh_statement(derived, home.schema, bases)

    async def take(self, connection: asyncpg.Connection) -> Merged:
        """Takes the oldest outbox rows and makes anew what they tell of.

        The checkpoint is locked before the statement has its snapshot, so of two that do this the
        second sees what the first has done. Raises `CheckpointMoved` where the table is of another
        version by now.
        """
        if await connection.fetchrow(HOLD, self.name, self.version) is None:
            raise CheckpointMoved(self.name)
        row = await connection.fetchrow(self.refresh_sql, self.name, self.outbox_rows_max)
        assert row is not None
        rows, touched, through, traced = row
        return Merged(rows, touched, through, traced_windows(traced))


def bases_of(derived: Derived, homes: Homes) -> Bases:
    """The tables that the sources read."""
    return {name: homes(count.of).counted(count) for name, count in derived.counters.items()}


def rows_statement(derived: Derived, bases: Bases, condition: Callable[[str, str], str]) -> str:
    """All rows that sources make, in the order of `columns`.

    `condition` says, as SQL, of which rows of a source, given its name and its column of the
    at-uri.
    """
    return " UNION ALL ".join(
        f"SELECT {', '.join(select.values.get(column, 'NULL') for column in derived.columns)}"
        f" FROM {bases[name]} AS b"
        f" WHERE ({select.where}) AND {condition(name, 'b.' + quoted(source.key))}"
        for name, source in derived.sources.items()
        for select in source.selects
    )


def refresh_statement(derived: Derived, schema: str, bases: Bases) -> str:
    """Takes the oldest outbox rows ($1 the name, $2 at most); makes anew what they tell of.

    Returns rows taken, records touched, the highest offset, and the windows that are traced.
    """
    table = f"{quoted(schema)}.{quoted(derived.table)}"
    told = "SELECT k FROM taken, unnest(keys) AS u(k)"
    rows = rows_statement(
        derived, bases, lambda name, key: f"{key} = ANY(ARRAY({told} WHERE counter = '{name}'))"
    )
    return f"""
WITH taken AS (
    DELETE FROM projector.outbox WHERE (aggregate, id) IN (
        SELECT aggregate, id FROM projector.outbox WHERE aggregate = $1 ORDER BY id LIMIT $2)
    RETURNING counter, keys, projection, through_offset),
gone AS (DELETE FROM {table} WHERE {quoted(derived.key)} = ANY(ARRAY({told}))),
put AS (INSERT INTO {table} ({listed(derived.columns)}) {rows})
SELECT (SELECT count(*) FROM taken), (SELECT coalesce(sum(cardinality(keys)), 0) FROM taken),
    (SELECT coalesce(max(through_offset), 0) FROM taken), {TRACED}
"""


def fill_statement(derived: Derived, into: str, bases: Bases) -> str:
    """Fills an empty derived table from all rows of its sources."""
    rows = rows_statement(derived, bases, lambda _name, _key: "true")
    return f"INSERT INTO {into} ({listed(derived.columns)}) {rows}"


def audit_statement(derived: Derived, schema: str) -> str:
    """Every record, of which no word waits, whose rows are not those that its sources make; with
    how many rows only the table has, and how many only the sources make. $1 rows at most."""
    table = f"{quoted(schema)}.{quoted(derived.table)}"
    bases = bases_of(derived, lambda of: live(of, schema))
    rows = rows_statement(derived, bases, lambda _name, _key: "true")
    columns = listed(derived.columns)
    return f"""
WITH has AS MATERIALIZED (SELECT {columns} FROM {table}),
must ({columns}) AS MATERIALIZED ({rows}),
wrong AS (
    SELECT {quoted(derived.key)} AS k, 1 AS extra, 0 AS missing
    FROM (TABLE has EXCEPT ALL TABLE must) AS e
    UNION ALL SELECT {quoted(derived.key)}, 0, 1 FROM (TABLE must EXCEPT ALL TABLE has) AS m),
waiting AS (SELECT DISTINCT k FROM projector.outbox, unnest(keys) AS u(k)
    WHERE aggregate = '{derived.name}')
SELECT k, sum(extra)::bigint, sum(missing)::bigint FROM wrong
WHERE NOT EXISTS (SELECT FROM waiting WHERE waiting.k = wrong.k) GROUP BY k ORDER BY k LIMIT $1
"""


ROWS: Final = "rows"
"""What stands where an aggregate's difference has the name of its counter."""


async def audit(
    connection: asyncpg.Connection,
    tables: Sequence[Derived],
    schema: str,
    differences_max: int = 1000,
) -> list[Difference]:
    """Compares derived tables with the rows they come of, each in one snapshot of a live database.

    Of a difference `stored` are the rows that only the table has, `counted` those that it lacks.
    """
    found: list[Difference] = []
    for derived in tables:
        async with snapshot(connection, tables_of([derived], schema)):
            rows = await connection.fetch(
                audit_statement(derived, schema), differences_max, timeout=AUDIT_SECONDS_MAX
            )
        found += [Difference(derived.name, ROWS, k, extra, 0, lacks) for k, extra, lacks in rows]
    return found


async def touch(connection: asyncpg.Connection, derived: Derived, keys: Sequence[str]) -> None:
    """Has the rows of records made anew, by whoever keeps the table."""
    for name, source in derived.sources.items():
        await connection.execute(TOUCH, derived.name, name, list(keys), source.of.name)
