"""Shapes: what tables consist of, as Postgres' catalog has it; and where two of them differ."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import asyncpg

from projector.home import quoted

TABLES: Final = """
SELECT relname, oid, relkind::text AS kind, relpersistence = 'p' AS permanent,
    pg_has_role(relowner, 'MEMBER') AS owned, pg_get_userbyid(relowner)::text AS owner
FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p', 'v', 'm', 'f')
ORDER BY relname
"""
COLUMNS: Final = """
SELECT attname AS name, format_type(atttypid, atttypmod) AS type, NOT attnotnull AS nullable,
    pg_get_expr(adbin, adrelid) AS expression, attgenerated <> '' AS generated,
    collname AS collation
FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
LEFT JOIN pg_collation AS c ON c.oid = attcollation
WHERE attrelid = $1 AND attnum > 0 AND NOT attisdropped ORDER BY attnum
"""
# Since version 18 NOT NULL is a constraint, too; the columns tell of it already.
CONSTRAINTS: Final = """
SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = $1 AND contype <> 'n'
"""
INDEXES: Final = """
SELECT i.relname, pg_get_indexdef(i.oid), x.indisunique, x.indisvalid
FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid
WHERE x.indrelid = $1 AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.oid)
"""
TRIGGERS: Final = "SELECT tgname FROM pg_trigger WHERE tgrelid = $1 AND NOT tgisinternal"
# What another order than that of bytes tells apart in another way, whatever its language.
PROBES: Final = (
    "",
    "-",
    "2",
    "A",
    "B",
    "Z",
    "_",
    "a",
    "at://did:a/x",
    "at://did:a0",
    "z",
    "~",
    "é",
)
BY_BYTES: Final = """
SELECT array_agg(x ORDER BY x COLLATE {collation}) = array_agg(x ORDER BY x COLLATE "C")
FROM unnest($1::text[]) AS x
"""


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `expression` is its default, or what generates it."""

    type: str
    nullable: bool
    expression: str | None
    generated: bool
    collation: str | None


@dataclass(frozen=True, slots=True)
class Index:
    """An index of no constraint; its definition without its name and schema."""

    definition: str
    unique: bool
    valid: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """A table: its columns, constraints, other indexes and triggers by name, and whose it is."""

    kind: str
    permanent: bool
    owned: bool
    owner: str
    columns: Mapping[str, Column]
    constraints: Mapping[str, str]
    indexes: Mapping[str, Index]
    triggers: tuple[str, ...]


async def shapes(connection: asyncpg.Connection, schema: str) -> dict[str, Shape]:
    """The tables, views and the like of a schema, by name; none where there is no schema."""
    found = {}
    for row in await connection.fetch(TABLES, quoted(schema)):
        oid = row["oid"]
        found[row["relname"]] = Shape(
            row["kind"],
            row["permanent"],
            row["owned"],
            row["owner"],
            {c["name"]: _column(c, schema) for c in await connection.fetch(COLUMNS, oid)},
            {n: _plain(d, schema) for n, d in await connection.fetch(CONSTRAINTS, oid)},
            {
                name: Index(_plain(definition, schema).replace(f" {quoted_as_shown(name)} ON ",
                                                               " ON ", 1), unique, valid)
                for name, definition, unique, valid in await connection.fetch(INDEXES, oid)
            },
            tuple(t["tgname"] for t in await connection.fetch(TRIGGERS, oid)),
        )  # fmt: skip
    return found


def quoted_as_shown(name: str) -> str:
    """The identifier as Postgres shows it: in quotes only where it needs them."""
    plain = name.replace("_", "a").isalnum() and name.islower() and name.isascii()
    return name if plain and not name[:1].isdigit() else quoted(name)


def _plain(definition: str, schema: str) -> str:
    for name in (quoted_as_shown(schema), quoted(schema)):
        definition = definition.replace(f"{name}.", "")
    return definition


def _column(row: asyncpg.Record, schema: str) -> Column:
    expression = row["expression"]
    return Column(
        row["type"],
        row["nullable"],
        None if expression is None else _plain(expression, schema),
        row["generated"],
        row["collation"],
    )


async def by_bytes(connection: asyncpg.Connection, collations: Iterable[str]) -> set[str]:
    """Those of the collations that order text as its bytes are, which the engine relies on."""
    found = set()
    for name in sorted(set(collations)):
        sql = BY_BYTES.format(collation=quoted(name))
        if await connection.fetchval(sql, list(PROBES)):
            found.add(name)
    return found


def differences(has: Shape, needed: Shape, ordered: set[str]) -> list[str]:
    """What of a table is not as needed, a line each; `ordered` are the collations by bytes.

    Indexes that are missing are none of it: they can be made (`missing`).
    """
    if has.kind != "r":
        return ["is no plain table"]
    found = [] if has.permanent else ["is unlogged: a crash would empty it"]
    if not has.owned:
        found.append(f"is owned by {has.owner}; connect as that role, or as a member of it")
    for name, column in needed.columns.items():
        found += _column_differences(name, has.columns.get(name), column, ordered)
    found += [
        f"column {name} is not ours, and has no default: no row could be written"
        for name, column in has.columns.items()
        if name not in needed.columns and not column.nullable and column.expression is None
    ]
    ours, theirs = set(needed.constraints.values()), set(has.constraints.values())
    found += [f"lacks the constraint {c}" for c in sorted(ours - theirs)]
    found += [f"has the constraint {c}, which rows may break" for c in sorted(theirs - ours)]
    definitions = {index.definition for index in needed.indexes.values()}
    for name, index in has.indexes.items():
        if index.unique and index.definition not in definitions:
            found.append(f"has the unique index {name}, which rows may break")
        if name in needed.indexes and needed.indexes[name].definition != index.definition:
            found.append(f"index {name} is {index.definition}, not as needed: "
                         f"{needed.indexes[name].definition}")  # fmt: skip
        if not index.valid:
            found.append(f"index {name} is not valid; REINDEX or drop it")
    return found


def missing(has: Shape, needed: Shape) -> list[str]:
    """The names of indexes that the table is to have and has not, by whatever name."""
    there = {index.definition for index in has.indexes.values()}
    return [name for name, index in needed.indexes.items() if index.definition not in there]


def _column_differences(
    name: str, has: Column | None, needed: Column, ordered: set[str]
) -> list[str]:
    if has is None:
        return [f"lacks the column {name} ({needed.type})"]
    found = []
    if has.type != needed.type:
        found.append(f"column {name} is {has.type}, not {needed.type}")
    if needed.nullable and not has.nullable:
        found.append(f"column {name} is NOT NULL, and must take NULL")
    if (has.generated, has.expression) != (needed.generated, needed.expression):
        found.append(f"column {name} is {_made(has)}, not {_made(needed)}")
    if has.collation is not None and has.collation not in ordered:
        found.append(f"column {name} collates by {has.collation}, not by bytes (C)")
    return found


def _made(column: Column) -> str:
    if column.generated:
        return f"generated as {column.expression}"
    return "without default" if column.expression is None else f"by default {column.expression}"
