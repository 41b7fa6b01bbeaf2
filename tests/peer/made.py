"""The peer's schema made from the facts that are kept of it, without the peer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import asyncpg

from tests.peer.schema import kept

SEQUENCE = re.compile(r"nextval\('(.*)'::regclass\)")
TRIGRAMS = "gist_trgm_ops"
HAS_TRIGRAMS = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_trgm')"


async def make_peer_schema(connection: asyncpg.Connection) -> None:
    """Makes it as the peer's migrations do; trigram indexes where the server has the extension."""
    trigrams = await connection.fetchval(HAS_TRIGRAMS)
    await connection.execute("CREATE SCHEMA bsky")
    if trigrams:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    for statement in statements(kept()):
        if trigrams or TRIGRAMS not in statement:
            await connection.execute(statement)


def statements(facts: dict[str, Any]) -> Iterator[str]:
    """Tables, then keys before what refers to them, then indexes, the view, its parameters."""
    tables = facts["tables"]
    for name, table in tables.items():
        yield from _table(name, table["columns"])
    constraints = [
        (t, n, c) for t, facts in tables.items() for n, c in facts["constraints"].items()
    ]
    for table, name, definition in sorted(constraints, key=lambda c: "FOREIGN" in c[2]):
        yield f'ALTER TABLE bsky."{table}" ADD CONSTRAINT "{name}" {definition}'
    for table in tables.values():
        keys = table["constraints"].keys()
        yield from (sql for name, sql in table["indexes"].items() if name not in keys)
    for name, view in facts["materialized_views"].items():
        yield f"CREATE MATERIALIZED VIEW bsky.{name} AS {view['definition']}"
        yield from view["indexes"].values()
    for name, value in facts["view_param"].items():
        yield f"INSERT INTO bsky.view_param VALUES ('{name}', '{value}')"


def _table(name: str, columns: list[dict[str, Any]]) -> Iterator[str]:
    parts, owned = [], []
    for column in columns:
        part = f'"{column["name"]}" {column["type"]}'
        if column["generated"]:
            part += f" GENERATED ALWAYS AS ({column['generated']}) STORED"
        if column["default"]:
            part += f" DEFAULT {column['default']}"
            if sequence := SEQUENCE.search(column["default"]):
                yield f"CREATE SEQUENCE {sequence[1]}"
                owned.append(f'ALTER SEQUENCE {sequence[1]} OWNED BY bsky."{name}"."id"')
        parts.append(part if column["nullable"] else part + " NOT NULL")
    yield f'CREATE TABLE bsky."{name}" ({", ".join(parts)})'
    yield from owned
