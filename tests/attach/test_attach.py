"""`projector init --attach`: the AppView's own tables, used as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from projector import schema
from projector.attach import Findings, attach, examine
from projector.database import Database
from projector.errors import SchemaMismatch, UsageError
from projector.registry import companions, kept
from tests.golden.test_golden import golden_events
from tests.peer.made import make_peer_schema
from tests.peer.schema import schema_facts, table_facts
from tests.support import engine
from tests.support.cli import Place
from tests.support.engine import ALL as EVERYTHING
from tests.support.rebuilding import rebuild

ALL = {"PROJECTOR_PROJECTIONS": "*"}
VIEW = "bsky.algo_whats_hot_view"
ONE_LIKE = """
INSERT INTO bsky."like" (uri, cid, creator, subject, "subjectCid", "createdAt", "indexedAt")
VALUES ('at://did:plc:a/app.bsky.feed.like/1', 'c', 'did:plc:a', 'at://did:plc:b/x/1', 'c', '', '')
"""
SPOILT = [
    ("ALTER TABLE bsky.follow DROP COLUMN cid", "follow lacks the column cid (character varying)"),
    ("ALTER TABLE bsky.follow ALTER COLUMN cid TYPE text",
     "follow column cid is text, not character varying"),
    ("ALTER TABLE bsky.post ALTER COLUMN langs SET NOT NULL",
     "post column langs is NOT NULL, and must take NULL"),
    ("ALTER TABLE bsky.follow ADD COLUMN rev varchar NOT NULL",
     "follow column rev is not ours, and has no default: no row could be written"),
    ('ALTER TABLE bsky.post_agg ALTER COLUMN "likeCount" DROP DEFAULT',
     "post_agg column likeCount is without default, not by default 0"),
    ("ALTER TABLE bsky.labeler DROP CONSTRAINT labeler_pkey",
     "labeler lacks the constraint PRIMARY KEY (uri)"),
    ("ALTER TABLE bsky.labeler ADD UNIQUE (creator)",
     "labeler has the constraint UNIQUE (creator), which rows may break"),
    ("CREATE UNIQUE INDEX one ON bsky.labeler (cid)",
     "labeler has the unique index one, which rows may break"),
    ("DROP INDEX bsky.record_did_idx; CREATE INDEX record_did_idx ON bsky.record (cid)",
     "record index record_did_idx is CREATE INDEX ON record USING btree (cid), not as needed: "
     "CREATE INDEX ON record USING btree (did)"),
    ("ALTER TABLE bsky.list SET UNLOGGED", "list is unlogged: a crash would empty it"),
    ("ALTER TABLE bsky.mute RENAME TO muted; CREATE VIEW bsky.mute AS SELECT * FROM bsky.muted",
     "mute is no plain table"),
    ("CREATE ROLE another; ALTER TABLE bsky.list OWNER TO another; SET ROLE another;"
     "SET ROLE NONE; CREATE ROLE mine; GRANT ALL ON SCHEMA bsky TO mine;"
     "GRANT CREATE ON DATABASE {database} TO mine; SET ROLE mine",
     "list is owned by another; connect as that role, or as a member of it"),
]  # fmt: skip
"""What is done to the AppView's schema, and what is said of it."""


@pytest.fixture
async def peers(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database with the AppView's schema."""
    connection = await asyncpg.connect(database_url)
    await make_peer_schema(connection)
    yield connection
    await connection.close()


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Place:
    return Place(tmp_path, "--database", database_url, **ALL)


async def attached(connection: asyncpg.Connection) -> Findings:
    found = await attach(connection, EVERYTHING, companions("*"), "bsky")
    assert found.differences == []
    return found


async def collations(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
    rows = await connection.fetch(
        "SELECT table_name, column_name, collation_name FROM information_schema.columns"
        " WHERE table_schema = 'bsky' AND table_name <> 'duplicate_record' ORDER BY 1, 2"
    )
    return [tuple(row) for row in rows]


@pytest.mark.both_servers
async def test_empty_tables_are_used_as_they_are(
    peers: asyncpg.Connection, place: Place, database: Database
) -> None:
    """And then hold, and count, what tables of our own would."""
    before, collated = await schema_facts(peers), await collations(peers)
    told = await place.json("init", "--attach")
    extra = [name.partition("index bsky.")[2] for name in told["making"] if "index" in name]
    after = await schema_facts(peers)
    assert [line for line in told["making"] if "table" in line] == []
    for table in after["tables"].values():
        for index in extra:
            table["indexes"].pop(index, None)
    assert after == before
    assert await collations(peers) == collated
    assert any(line.startswith(f"{VIEW} reads bsky.post_agg") for line in told["notes"])
    assert told["waiting"] == []
    events = golden_events("redelivered")
    await engine.append(database, events)
    await engine.project(database, declarations=EVERYTHING)
    assert await engine.differences(database, EVERYTHING) == []
    found = await engine.tables_of(database, engine.table_names(EVERYTHING))
    await peers.execute("DROP SCHEMA projector CASCADE; DROP SCHEMA bsky CASCADE")
    await engine.create(database, EVERYTHING)
    await engine.append(database, events)
    await engine.project(database, declarations=EVERYTHING)
    assert await engine.tables_of(database, engine.table_names(EVERYTHING)) == found
    assert len(found["like"]) + len(found["follow"]) > 0


async def test_what_differs_is_said_and_nothing_is_done(
    peers: asyncpg.Connection, place: Place
) -> None:
    database = await peers.fetchval("SELECT current_database()")
    for statement, complaint in SPOILT:
        spoiling = peers.transaction()
        await spoiling.start()
        await peers.execute(statement.replace("{database}", database))
        found = await examine(peers, EVERYTHING, companions("*"), "bsky")
        assert f"bsky.{complaint}" in found.differences, statement
        await spoiling.rollback()
    assert (await examine(peers, EVERYTHING, companions("*"), "bsky")).differences == []
    await peers.execute("ALTER TABLE bsky.follow DROP COLUMN cid")
    refused = await place.run("init", "--attach")
    assert refused.code == 4
    assert "bsky.follow lacks the column cid" in refused.text
    assert "do not fit" in refused.complaint
    assert await peers.fetchval("SELECT to_regnamespace('projector')") is None


async def test_missing_tables_and_indexes_are_made(peers: asyncpg.Connection) -> None:
    whole = await table_facts(peers, "list_item")
    await peers.execute("DROP TABLE bsky.list_item; DROP INDEX bsky.post_replyparent_idx")
    found = await attached(peers)
    assert {"table bsky.list_item", "index bsky.post_replyparent_idx"} <= set(found.making)
    assert await table_facts(peers, "list_item") == whole
    assert "post_replyparent_idx" in (await table_facts(peers, "post"))["indexes"]


@pytest.mark.both_servers
async def test_text_that_is_not_in_the_order_of_its_bytes_is_refused(
    peers: asyncpg.Connection,
) -> None:
    try:
        await peers.execute("CREATE COLLATION swedish (provider = icu, locale = 'sv')")
    except asyncpg.FeatureNotSupportedError:
        pytest.skip("this server was built without other orders")
    await peers.execute('ALTER TABLE bsky.labeler ALTER COLUMN cid TYPE varchar COLLATE "swedish"')
    found = await examine(peers, EVERYTHING, companions("*"), "bsky")
    assert found.differences == ["bsky.labeler column cid collates by swedish, not by bytes (C)"]


@pytest.mark.both_servers
async def test_rows_of_another_indexer_wait_for_a_rebuild(
    peers: asyncpg.Connection, database: Database
) -> None:
    await peers.execute(ONE_LIKE)
    await peers.execute("""INSERT INTO bsky.post_agg (uri, "likeCount") VALUES ('at://x', 7)""")
    with pytest.raises(SchemaMismatch, match="the tables of like have rows that another indexer"):
        await schema.create(peers, EVERYTHING, "bsky")
    assert (await attached(peers)).waiting == ["like", "notification", "post_agg"]
    assert (await attached(peers)).waiting == []
    with pytest.raises(SchemaMismatch, match="run: projector rebuild like"):
        await schema.check(peers, EVERYTHING)
    await engine.append(database, golden_events("posts"))
    await peers.execute(f"DROP MATERIALIZED VIEW {VIEW}")
    await rebuild(database, "like", declarations=EVERYTHING)
    await schema.check(peers, EVERYTHING)
    await engine.project(database, declarations=EVERYTHING)
    assert await engine.differences(database, EVERYTHING) == []
    assert await peers.fetchval('SELECT count(*) FROM bsky."like"') > 1
    assert await peers.fetchval('SELECT creator FROM projector_old_like."like"') == "did:plc:a"
    assert "at://x" not in {row["uri"] for row in await engine.rows_of(peers, "post_agg")}


def test_a_fresh_database_gets_the_tables_that_nobody_here_fills() -> None:
    assert [c.name for c in companions("*")] == ["appview"]
    assert companions("post,like") == []
    assert len(companions("*,-actor_sync")) == 1


def test_projections_may_be_left_out() -> None:
    every = [declaration.name for declaration in kept("*")]
    assert [d.name for d in kept("*, -actor_sync")] == [n for n in every if n != "actor_sync"]
    assert [d.name for d in kept("post,like")] == ["like", "post"]
    for wrong in ("*,-nothing", "*,-like", "nothing"):
        with pytest.raises(UsageError):
            kept(wrong)
