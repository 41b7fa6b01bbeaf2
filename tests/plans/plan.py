"""What EXPLAIN ANALYZE says of a statement that ran: what it read, by which index, how much."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import asyncpg

Node = dict[str, Any]
Values = tuple[object, ...]

RUN: Final = "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
ONLY: Final = "EXPLAIN (FORMAT JSON) "
_PARTITION: Final = re.compile(r"^(event_log)_\d{15}")


@dataclass(frozen=True)
class Plan:
    """A plan as Postgres tells it; all that is counted is of one run."""

    tree: Node

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes, each before its children."""
        return list(_with_children(self.tree))

    @cached_property
    def scans(self) -> list[Node]:
        """The nodes that read tables or indexes."""
        return [n for n in self.nodes if "Scan" in n["Node Type"] and _relation(n)]

    @property
    def scanned(self) -> set[str]:
        """The tables that are read without an index, and have rows."""
        plain = [n for n in self.scans if n["Node Type"] == "Seq Scan"]
        return {_relation(n) for n in plain if _visited(n)}

    @property
    def indexes(self) -> set[str]:
        """The indexes that rows are looked for in; those of partitions by the log's name."""
        names = {n["Index Name"] for n in self.nodes if "Index Name" in n}
        for node in self.nodes:
            names.update(node.get("Conflict Arbiter Indexes", ()))
        return {_PARTITION.sub(r"\1", name) for name in names}

    @property
    def partitions(self) -> set[str]:
        """The partitions of the log that were opened."""
        tables = {n.get("Relation Name", "") for n in self.scans if n["Actual Loops"]}
        return {table for table in tables if _PARTITION.match(table)}

    @property
    def visited(self) -> int:
        """The rows that were looked at in tables and indexes, whether they were kept or not."""
        return sum(map(_visited, self.scans))

    @property
    def pages(self) -> int:
        """The pages that were asked for, whether they were in memory or not."""
        return sum(n["Shared Hit Blocks"] + n["Shared Read Blocks"] for n in self._roots())

    def _roots(self) -> Iterator[Node]:
        # A WITH that nobody reads from runs after all else, and is in no other node's figures.
        read = {n["CTE Name"] for n in self.nodes if "CTE Name" in n}
        yield self.tree
        for node in self.nodes:
            kind, _, name = node.get("Subplan Name", "").partition(" ")
            if kind == "CTE" and name not in read:
                yield node


def _with_children(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", ()):
        yield from _with_children(child)


def _relation(node: Node) -> str:
    return str(node.get("Relation Name", "") or node.get("Index Name", ""))


def _visited(node: Node) -> int:
    """All rows of all loops; what is counted is the mean of a loop."""
    counts = [n for name, n in node.items() if name.startswith(("Actual Rows", "Rows Removed"))]
    return round(sum(counts) * node.get("Actual Loops", 0))


async def explained(
    connection: asyncpg.Connection, sql: str, values: Values, *, run: bool = True
) -> Plan:
    """The plan of a statement as it is sent, made for its values; nothing that it does stays."""
    return await _asked(connection, (RUN if run else ONLY) + sql, *values)


class Prepared:
    """A statement that is prepared on a connection, with parameters of the types that asyncpg
    would find; for the server keeps plans of these, and explains them."""

    def __init__(self, connection: asyncpg.Connection, name: str, sql: str) -> None:
        self.connection = connection
        self.name = name
        self.sql = sql
        self._quoted = ""

    async def open(self) -> Prepared:
        """Prepares it."""
        types = (await self.connection.prepare(self.sql)).get_parameters()
        texts = [f"quote_nullable(${i}::{kind.name}::text)" for i, kind in enumerate(types, 1)]
        self._quoted = f"SELECT {', '.join(texts)}" if texts else ""
        await self.connection.execute(f'PREPARE "{self.name}" AS {self.sql}')
        return self

    async def close(self) -> None:
        """Forgets it."""
        await self.connection.execute(f'DEALLOCATE "{self.name}"')

    async def explained(self, values: Values) -> Plan:
        """The plan that the server has, or makes; nothing that it does stays."""
        literals = ""
        if self._quoted:
            literals = f"({', '.join(await self.connection.fetchrow(self._quoted, *values))})"
        return await _asked(self.connection, f'{RUN}EXECUTE "{self.name}"{literals}')


async def _asked(connection: asyncpg.Connection, question: str, *values: object) -> Plan:
    transaction = connection.transaction()
    await transaction.start()
    try:
        answer = await connection.fetchval(question, *values)
    finally:
        await transaction.rollback()
    return Plan(json.loads(answer)[0]["Plan"])
