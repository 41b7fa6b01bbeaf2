"""Statements for child tables, for the removal of accounts, and for columns that others keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from projector.declare import Child, Projection
from projector.home import Counter, Home, listed, quoted

OUTBOX_KEYS_MAX: Final = 10_000
"""The most keys in one outbox row."""


@dataclass(frozen=True, slots=True)
class ChildStatements:
    """The statements of one child table, `at` a cell of the projection's rows, or, where it is
    `judged`, of what was judged to be there.

    `counted` are the cells, as SQL, that `delete` returns, which takes the records' uris ($1).
    `remove_account` is as that of the projection's own table.
    """

    at: int
    judged: bool
    name: str
    columns: tuple[str, ...]
    counted: tuple[str, ...]
    delete: str
    remove_account: str


def child_statements(
    projection: Projection, home: Home, counters: Sequence[Counter]
) -> tuple[ChildStatements, ...]:
    """The statements of all child tables of a projection."""
    width = len(projection.table.columns)
    places = [
        *((at, False, child) for at, child in enumerate(projection.children, width)),
        *((at, True, child) for at, child in enumerate(projection.judged_children)),
    ]
    return tuple(
        _child(at, judged, child, home, [c for c in counters if c.child == child.name])
        for at, judged, child in places
    )


def _child(
    at: int, judged: bool, child: Child, home: Home, counters: Sequence[Counter]
) -> ChildStatements:
    counted = tuple(dict.fromkeys(counter.cell for counter in counters))
    table, key = home.child(child), quoted(child.columns[0])
    return ChildStatements(
        at,
        judged,
        child.name,
        child.columns,
        counted,
        f"DELETE FROM {table} WHERE {key} = ANY($1::text[]) RETURNING {', '.join(counted) or '1'}",
        removing(home.name, table, f"{key} >= $1 AND {key} < $2", "$3", counters),
    )


def removing(name: str, table: str, which: str, through: str, counters: Sequence[Counter]) -> str:
    """Deletes rows of whole accounts; the deltas go to the outbox inside Postgres.

    An account may own millions of rows, so they never leave it. Returns the number of rows.
    """
    names = {cell: f"k{i}" for i, cell in enumerate(dict.fromkeys(c.cell for c in counters))}
    returning = ", ".join(f"{cell} AS {name}" for cell, name in names.items()) or "1"
    parts = [f"WITH gone AS (DELETE FROM {table} WHERE {which} RETURNING {returning})"]
    sums = []
    for i, counter in enumerate(counters):
        key = names[counter.cell]
        parts.append(
            f", d{i} AS (SELECT {key} AS k, -count(*)::integer AS n,"
            f" row_number() OVER (ORDER BY {key}) / {OUTBOX_KEYS_MAX} AS part"
            f" FROM gone WHERE {key} IS NOT NULL GROUP BY 1)"
        )
        sums.append(
            f"SELECT '{counter.aggregate}', '{counter.name}', array_agg(k ORDER BY k),"
            f" array_agg(n ORDER BY k), '{name}', {through}::bigint FROM d{i} GROUP BY part"
        )
    if sums:
        parts.append(
            ", put AS (INSERT INTO projector.outbox (aggregate, counter, keys, deltas,"
            f" projection, through_offset) {' UNION ALL '.join(sums)})"
        )
    else:
        parts.append(f", put AS (SELECT {through}::bigint)")
    return "".join(parts) + " SELECT count(*) FROM gone"


def kept_statement(projection: Projection, home: Home) -> str:
    """What is kept of the rows of uris ($1): uri, then each column as text."""
    base = home.base(projection.table)
    there = " OR ".join(f"{quoted(c)} IS NOT NULL" for c in projection.kept)
    texts = ", ".join(f"{quoted(c)}::text" for c in projection.kept)
    return f"SELECT uri, {texts} FROM {base} WHERE uri = ANY($1::text[]) AND ({there})"


def keep_statement(projection: Projection, home: Home) -> str:
    """Writes it again, an array for each of those columns, to the rows that have the uris now."""
    kept = projection.kept
    values = ", ".join(f"{quoted(c)} = k.{quoted(c)}::{kind}" for c, kind in kept.items())
    arrays = ", ".join(f"${i}::text[]" for i in range(1, len(kept) + 2))
    return (
        f"UPDATE {home.base(projection.table)} AS t SET {values} FROM unnest({arrays})"
        f" AS k(uri, {listed(tuple(kept))}) WHERE t.uri = k.uri"
    )
