"""`projector init` makes the tables that the peer's own migrations make (schema.json)."""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import pytest

from projector import schema
from projector.registry import companions, installed
from tests.integration.test_schema import schema_differences
from tests.peer.made import HAS_TRIGRAMS
from tests.peer.schema import kept, names, table_facts

pytestmark = pytest.mark.both_servers

PEER: Final[dict[str, Any]] = kept()["tables"]


@pytest.fixture
async def connection(database_url: str) -> Any:
    """A connection to a database as `projector init` makes it."""
    made = await asyncpg.connect(database_url)
    await schema.create(made, installed(), "bsky", companions=companions("*"))
    yield made
    await made.close()


async def test_our_tables_are_the_peers(connection: asyncpg.Connection) -> None:
    trigrams = bool(await connection.fetchval(HAS_TRIGRAMS))
    ours = await names(connection)
    assert set(ours) == set(PEER)
    found = {name: await table_facts(connection, name) for name in ours}
    assert {
        name: differing
        for name, facts in found.items()
        if (differing := schema_differences(facts, _possible(PEER[name], trigrams=trigrams)))
    } == {}


def _possible(facts: dict[str, Any], *, trigrams: bool) -> dict[str, Any]:
    """What can be made here: the embedded server has no pg_trgm (CONVENTIONS, trap 9)."""
    if trigrams:
        return facts
    indexes = {name: sql for name, sql in facts["indexes"].items() if "gist_trgm_ops" not in sql}
    return {**facts, "indexes": indexes}


def test_the_kept_facts_are_of_the_whole_schema() -> None:
    """54 tables, with the three trigram indexes (dataplane.md 1.18) and the one view."""
    facts = kept()
    assert len(PEER) == 54
    assert facts["extensions"] == ["pg_trgm"]
    assert list(facts["materialized_views"]) == ["algo_whats_hot_view"]
    assert sum("gist_trgm_ops" in str(table["indexes"]) for table in PEER.values()) == 3
