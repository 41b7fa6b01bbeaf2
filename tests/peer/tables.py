"""The rows of all tables of a `bsky` schema, in the form of the golden results."""

from __future__ import annotations

import json
from typing import Any, Final, TypeAlias

import asyncpg

from tests.peer.schema import names

Row: TypeAlias = dict[str, Any]
Tables: TypeAlias = dict[str, list[Row]]

ROWS: Final = 'SELECT to_jsonb(t) FROM bsky."{}" t'
NOT_OF_EVENTS: Final = ("view_param",)
NUMBERED: Final = ("notification", "id")


async def all_tables(connection: asyncpg.Connection) -> Tables:
    """The rows of every table that has some, without what numbering and clocks make."""
    found: Tables = {}
    for name in await names(connection):
        if name not in NOT_OF_EVENTS:
            rows = [json.loads(row[0]) for row in await connection.fetch(ROWS.format(name))]
            if rows:
                found[name] = rows
    return normal(found)


def normal(tables: Tables) -> Tables:
    """As golden/README.md has them, sorted; the golden scenarios are brought to it, too."""
    cleaned = {name: [_cleaned(name, row) for row in rows] for name, rows in tables.items()}
    undated = _undated(cleaned.get("record", []))
    for row in cleaned.get("profile", []):
        if row["uri"] in undated:
            row["createdAt"] = "the clock"
    return {name: sorted(rows, key=canonical) for name, rows in cleaned.items()}


def canonical(value: Any) -> str:
    """One text for what is the same JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _cleaned(table: str, row: Row) -> Row:
    row = {column: value for column, value in row.items() if (table, column) != NUMBERED}
    if table == "notification" and row["reason"] == "unverified":
        row["sortAt"] = "the clock"
    if table == "op_thread_reply" and row["deletedAt"] is not None:
        row["deletedAt"] = True
    if table == "record" and isinstance(row["json"], str):
        row["json"] = json.loads(row["json"])
    return row


def _undated(records: list[Row]) -> set[str]:
    return {row["uri"] for row in records if "createdAt" not in row["json"]}
