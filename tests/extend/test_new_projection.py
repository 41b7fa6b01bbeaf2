"""A collection the engine has never heard of needs a declaration and DDL, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from events.event import Event
from events.syntax import normal_datetime
from projector.database import Database
from projector.declare import Aggregate, Count, InvalidRecord, Projection, Row, Table
from tests.golden.test_golden import golden_events, lines_of
from tests.support import engine


class Block(msgspec.Struct):
    subject: str
    createdAt: str


def block_row(event: Event, record: Block) -> Row:
    if not record.subject.startswith("did:"):
        raise InvalidRecord("subject is no DID")
    created_at = normal_datetime(record.createdAt)
    if created_at is None:
        raise InvalidRecord("createdAt is no datetime")
    return (event.uri, event.cid, event.did, record.subject, created_at, event.indexed_at)


blocks = Projection(
    name="block",
    version=1,
    collection="app.bsky.graph.block",
    record=Block,
    row=block_row,
    table=Table(
        "actor_block",
        columns=("uri", "cid", "creator", "subjectDid", "createdAt", "indexedAt"),
        unique=("creator", "subjectDid"),
    ),
    ddl="""
CREATE TABLE IF NOT EXISTS {schema}.actor_block (
    uri varchar COLLATE "C" PRIMARY KEY,
    cid varchar COLLATE "C" NOT NULL,
    creator varchar COLLATE "C" NOT NULL,
    "subjectDid" varchar COLLATE "C" NOT NULL,
    "createdAt" varchar COLLATE "C" NOT NULL,
    "indexedAt" varchar COLLATE "C" NOT NULL,
    "sortAt" varchar COLLATE "C" GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT actor_block_unique_subject UNIQUE (creator, "subjectDid")
);
CREATE TABLE IF NOT EXISTS {schema}.duplicate_record (
    uri varchar COLLATE "C" PRIMARY KEY,
    cid varchar COLLATE "C" NOT NULL,
    "duplicateOf" varchar COLLATE "C" NOT NULL,
    "indexedAt" varchar COLLATE "C" NOT NULL
);
""",
)

block_agg = Aggregate(
    name="block_agg",
    version=1,
    table="block_agg",
    key="did",
    counters={
        "blockersCount": Count(blocks, by="subjectDid"),
        "blocksCount": Count(blocks, by="creator"),
    },
    ddl="""
CREATE TABLE IF NOT EXISTS {schema}.block_agg (
    did varchar COLLATE "C" PRIMARY KEY,
    "blockersCount" bigint NOT NULL DEFAULT 0,
    "blocksCount" bigint NOT NULL DEFAULT 0
);
""",
)


async def test_blocks_equal_the_golden_table_and_are_counted(database: Database) -> None:
    declarations = [blocks, block_agg]
    await engine.create(database, declarations)
    await engine.append(database, golden_events("graph"))
    await engine.project(database, window_events=100, declarations=declarations)
    tables = await engine.tables_of(database, ["actor_block", "block_agg", "duplicate_record"])

    golden: list[dict[str, Any]] = [json.loads(line) for line in lines_of("graph", "actor_block")]
    assert tables["actor_block"] == sorted(golden, key=lambda row: row["uri"])
    by_subject: dict[str, int] = {}
    for row in golden:
        by_subject[row["subjectDid"]] = by_subject.get(row["subjectDid"], 0) + 1
    counted = {row["did"]: row["blockersCount"] for row in tables["block_agg"]}
    assert {did: n for did, n in counted.items() if n} == by_subject
