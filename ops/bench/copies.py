"""Copies of declarations: the same projections under other names, with tables of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from projector.declare import Aggregate, Count, Declaration, Projection


def copies_of(
    declarations: Sequence[Declaration], suffix: str, *, collections: bool = False
) -> list[Declaration]:
    """Each declaration with `suffix` after its name and those of its tables and indexes.

    With `collections` after its collection too. An aggregate keeps the counters whose projection
    is among them.
    """
    projections = {
        d.name: _projection(d, suffix, suffix if collections else "")
        for d in declarations
        if isinstance(d, Projection)
    }
    aggregates = [
        _aggregate(d, suffix, projections) for d in declarations if isinstance(d, Aggregate)
    ]
    return [*projections.values(), *aggregates]


def _projection(projection: Projection, suffix: str, collection_suffix: str) -> Projection:
    table = projection.table
    children = [child.name for child in projection.children]
    return replace(
        projection,
        name=projection.name + suffix,
        collection=projection.collection + collection_suffix,
        table=replace(table, name=table.name + suffix, duplicates=table.duplicates + suffix),
        also={name + collection_suffix: reading for name, reading in projection.also.items()},
        children=tuple(replace(c, name=c.name + suffix) for c in projection.children),
        ddl=_renamed(projection.ddl, (*children, table.name, table.duplicates), suffix),
    )


def _aggregate(aggregate: Aggregate, suffix: str, projections: dict[str, Projection]) -> Aggregate:
    counters = {
        name: Count(projections[count.of.name], count.by, count.child and count.child + suffix)
        for name, count in aggregate.counters.items()
        if count.of.name in projections
    }
    return replace(
        aggregate,
        name=aggregate.name + suffix,
        table=aggregate.table + suffix,
        counters=counters,
        ddl=_renamed(aggregate.ddl, (aggregate.table,), suffix),
    )


def _renamed(ddl: str, tables: Sequence[str], suffix: str) -> str:
    """The DDL with the suffix in the names of tables, and in those that begin with one."""
    return re.sub(rf"\b({'|'.join(tables)})(?=_|\b)", rf"\1{suffix}", ddl)
