"""Attach: tables that another program made, such as the AppView's own, used as they are.

What is needed is what our own DDL makes: it is run in a schema of its own, looked at, and rolled
back. Tables and indexes that are missing are made; whatever else differs is said, and nothing is
done. Rows that are there already are another indexer's and prove nothing: their projections wait
for a rebuild from the log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg

from projector import swap
from projector.declare import Companion, Declaration, Fed, Projection
from projector.home import Home, quoted
from projector.schema import (
    FOREIGN_VERSION,
    HAS_ENGINE,
    VERSIONS,
    create,
    has_rows,
    statements,
)
from projector.shape import Shape, by_bytes, differences, missing, shapes

SCRATCH: Final = "projector_attach"
DATABASE_COLLATION: Final = "default"


@dataclass(slots=True)
class Findings:
    """What was found: where tables differ, what is made beside them, what an operator should know,
    which projections wait for a rebuild, the statements that are run before all others, and what
    was done in the end."""

    differences: list[str] = field(default_factory=list)
    making: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    alterations: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)


async def attach(
    connection: asyncpg.Connection,
    declarations: Sequence[Declaration],
    companions: Sequence[Companion],
    schema: str,
    *,
    partition_events: int = 10_000_000,
) -> Findings:
    """Takes the schema's tables as those of projections; where anything differs it does nothing."""
    found = await examine(connection, declarations, companions, schema)
    if not found.differences:
        async with connection.transaction():
            for statement in found.alterations:
                await connection.execute(statement)
        found.done = await create(
            connection, declarations, schema, companions=companions, waiting=found.waiting,
            partition_events=partition_events,
        )  # fmt: skip
    return found


async def examine(
    connection: asyncpg.Connection,
    declarations: Sequence[Declaration],
    companions: Sequence[Companion],
    schema: str,
) -> Findings:
    """Compares the schema with what is needed. Changes nothing."""
    needed = await _needed(connection, declarations, companions)
    there = await shapes(connection, schema)
    used = {name: there[name] for name in needed if name in there}
    names = {c.collation for s in used.values() for c in s.columns.values() if c.collation}
    ordered = await by_bytes(connection, names)
    found = Findings()
    for name, shape in needed.items():
        if name not in there:
            found.making.append(f"table {schema}.{name}")
            continue
        has = there[name]
        found.differences += [f"{schema}.{name} {d}" for d in differences(has, shape, ordered)]
        found.making += [f"index {schema}.{index}" for index in missing(has, shape)]
        found.notes += [
            f"trigger {trigger} of {schema}.{name} runs for each row, and is gone after a rebuild"
            for trigger in has.triggers
        ]
    await _find_readers(connection, declarations, schema, used, found)
    _find_lists(declarations, schema, used, found)
    if not found.differences:
        await _find_waiting(connection, declarations, schema, found)
    return found


async def _needed(
    connection: asyncpg.Connection,
    declarations: Sequence[Declaration],
    companions: Sequence[Companion],
) -> dict[str, Shape]:
    """The tables as our own DDL makes them in a fresh database."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"CREATE SCHEMA {SCRATCH}")
        for part in (*declarations, *companions):
            for statement in statements(part.ddl.replace("{schema}", SCRATCH)):
                await connection.execute(statement)
        return await shapes(connection, SCRATCH)
    finally:
        await transaction.rollback()


async def _find_readers(
    connection: asyncpg.Connection,
    declarations: Sequence[Declaration],
    schema: str,
    used: dict[str, Shape],
    found: Findings,
) -> None:
    """Views, which a rebuild does not take along."""
    for declaration in declarations:
        table = declaration.table
        name = table if isinstance(table, str) else table.name
        if name in used:
            found.notes += [
                f"{view} reads {schema}.{name}: drop it before a rebuild of {declaration.name}, "
                "and make it again afterwards"
                for view in await swap.views_of(connection, declaration, schema)
            ]


def _find_lists(
    declarations: Sequence[Declaration], schema: str, used: dict[str, Shape], found: Findings
) -> None:
    """Lists of duplicates stay when a rebuild puts tables of our own collation beside them, and
    are then looked up by it: only an index of the same collation is found."""
    lists = {d.table.duplicates for d in declarations
             if isinstance(d, Projection) and d.table.unique}  # fmt: skip
    for name in sorted(lists & used.keys()):
        columns = [
            f'ALTER COLUMN {quoted(column)} TYPE {c.type} COLLATE "C"'
            for column, c in used[name].columns.items()
            if c.collation == DATABASE_COLLATION
        ]
        if columns:
            table = f"{quoted(schema)}.{quoted(name)}"
            found.alterations.append(f"ALTER TABLE {table} {', '.join(columns)}")
            found.making.append(f"collation C of {schema}.{name}")


async def _find_waiting(
    connection: asyncpg.Connection,
    declarations: Sequence[Declaration],
    schema: str,
    found: Findings,
) -> None:
    """Projections whose tables another has filled, and aggregates over these."""
    versions: dict[str, int] = {}
    if await connection.fetchval(HAS_ENGINE):
        rows = await connection.fetch(VERSIONS)
        versions = {row["projection"]: row["version"] for row in rows}
    foreign = {name for name, version in versions.items() if version == FOREIGN_VERSION}
    for declaration in declarations:
        name = declaration.name
        if name in versions:
            continue
        counted: set[str] = set()
        if isinstance(declaration, Fed):
            counted = {count.of.name for count in declaration.counters.values()}
        if counted & foreign or await has_rows(connection, declaration, Home(name, schema)):
            foreign.add(name)
            found.waiting.append(name)
