"""Counts, made anew with each touch of a key, from all rows that count for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from projections.post_agg import post_agg
from projections.profile_agg import profile_agg
from projector.declare import Aggregate, Count, Projection, Row
from projector.effects import Effect, do

RECOUNT: Final = """
INSERT INTO {aggregate} AS a ({key}, "{counter}")
SELECT $1::varchar, count(*) FROM "{table}" WHERE "{by}" = $1 {where}
ON CONFLICT ({key}) DO UPDATE SET "{counter}" = excluded."{counter}"
"""
WHERE: Final = {"replyCount": 'AND "violatesThreadGate" IS NOT TRUE'}
"""Which rows count, where not all do."""

RECOUNT_QUOTES: Final = """
INSERT INTO post_agg AS a (uri, "quoteCount")
SELECT $1::varchar, count(*) FROM quote WHERE "subjectCid" = $2
ON CONFLICT (uri) DO UPDATE SET "quoteCount" = excluded."quoteCount"
"""


class Recount(NamedTuple):
    """A statement that counts for the value of a column of the row that came or went."""

    text: str
    column: int


def _recount(aggregate: Aggregate, counter: str, count: Count) -> Recount:
    text = RECOUNT.format(
        aggregate=aggregate.table,
        key=aggregate.key,
        counter=counter,
        table=count.table,
        by=count.by,
        where=WHERE.get(counter, ""),
    )
    return Recount(text, count.of.table.columns.index(count.by))


def counts_of(projection: Projection) -> tuple[Recount, ...]:
    """The counts that a projection's own rows move."""
    return tuple(
        _recount(aggregate, counter, count)
        for aggregate in (profile_agg, post_agg)
        for counter, count in aggregate.counters.items()
        if count.of.name == projection.name and count.child is None
    )


def recount(counts: Sequence[Recount], rows: Sequence[Row]) -> Effect:
    """Counts anew for all keys of rows that came or went, each once."""
    touched = {(count.text, row[count.column]) for count in counts for row in rows}
    for text, key in sorted(pair for pair in touched if pair[1] is not None):
        yield from do(text, key)


def recount_quotes(uri: str, cid: str) -> Effect:
    """Sets a post's quotes to those of a version of its content, whoever else has the same."""
    yield from do(RECOUNT_QUOTES, uri, cid)
