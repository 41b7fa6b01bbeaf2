"""Answers to a judge's questions: from tables as they are before a window, many at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import asyncpg

from projector.apply import TableWriter
from projector.home import listed, quoted
from projector.judging import CellsOf, ChildrenOf, Claims, Question


class Answers:
    """What the tables of some projections hold of the records that were asked about.

    Of `CellsOf` the cells, or None; of `ChildrenOf` the rows; of `Claims` the uri of the record
    that has it, or None.
    """

    def __init__(self, writers: Mapping[str, TableWriter]) -> None:
        self._writers = writers
        self._known: dict[Question, Any] = {}

    def __contains__(self, question: Question) -> bool:
        return question in self._known

    def __getitem__(self, question: Question) -> Any:
        return self._known[question]

    def get(self, question: Question, default: object) -> Any:
        """The answer, where it is known."""
        return self._known.get(question, default)

    async def ask(self, connection: asyncpg.Connection, questions: Collection[Question]) -> None:
        """Finds the answers: by one statement for all questions of a kind, through an index."""
        kinds: defaultdict[Any, list[Any]] = defaultdict(list)
        for question in questions:
            match question:
                case CellsOf(projection, _, columns):
                    kinds[CellsOf, projection, columns].append(question)
                case ChildrenOf(projection, child, _):
                    kinds[ChildrenOf, projection, child].append(question)
                case Claims(projection, _):
                    kinds[Claims, projection, None].append(question)
        for (kind, projection, what), asked in kinds.items():
            writer = self._writers[projection]
            if kind is CellsOf:
                await self._cells(connection, writer, what, asked)
            elif kind is ChildrenOf:
                await self._children(connection, writer, what, asked)
            else:
                await self._holders(connection, writer, asked)

    async def _cells(
        self,
        connection: asyncpg.Connection,
        writer: TableWriter,
        columns: tuple[str, ...],
        asked: list[CellsOf],
    ) -> None:
        rows = await connection.fetch(cells_statement(writer, columns), [q.uri for q in asked])
        found = {uri: tuple(cells) for uri, *cells in rows}
        self._known.update((question, found.get(question.uri)) for question in asked)

    async def _children(
        self,
        connection: asyncpg.Connection,
        writer: TableWriter,
        child: str,
        asked: list[ChildrenOf],
    ) -> None:
        rows = await connection.fetch(children_statement(writer, child), [q.uri for q in asked])
        found: defaultdict[str, list[tuple[Any, ...]]] = defaultdict(list)
        for row in rows:
            found[row[0]].append(tuple(row))
        self._known.update((question, tuple(found.get(question.uri, ()))) for question in asked)

    async def _holders(
        self, connection: asyncpg.Connection, writer: TableWriter, asked: list[Claims]
    ) -> None:
        assert writer.sql.holders is not None
        arrays = [list(column) for column in zip(*[q.claim for q in asked], strict=True)]
        rows = await connection.fetch(writer.sql.holders, *arrays)
        found = {tuple(claim): uri for *claim, uri in rows}
        self._known.update((question, found.get(question.claim)) for question in asked)


def cells_statement(writer: TableWriter, columns: tuple[str, ...]) -> str:
    """Columns of the rows of uris ($1), the uri first."""
    # A subquery, so that the planner does not count many uris, and reads another index that has
    # the columns from end to end.
    base, uris = writer.home.base(writer.table), "ANY((SELECT $1::text[])::text[])"
    return f"SELECT {listed(('uri', *columns))} FROM {base} WHERE uri = {uris}"


def children_statement(writer: TableWriter, name: str) -> str:
    """The rows that records ($1) have in a child table."""
    child = writer.projection.child(name)
    return (
        f"SELECT {listed(child.columns)} FROM {writer.home.child(child)}"
        f" WHERE {quoted(child.columns[0])} = ANY($1::text[])"
    )
