"""Copies of a filled database that are the same, or are not: the driver must tell which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from projector.embedded_postgres import EmbeddedPostgres
from tests.peer.compare import execute

# Each row is written anew, in random order: the same rows at other places.
SHUFFLE: Final = """
DO $$
DECLARE name text; col text; place tid;
BEGIN
  FOR name, col IN
    SELECT c.relname, min(a.attname) FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
    WHERE c.relnamespace = 'bsky'::regnamespace AND c.relkind = 'r' AND a.attnum > 0
      AND a.attgenerated = '' AND NOT a.attisdropped
    GROUP BY c.relname
  LOOP
    FOR place IN EXECUTE format('SELECT ctid FROM bsky.%I ORDER BY random()', name) LOOP
      EXECUTE format('UPDATE bsky.%I SET %I = %I WHERE ctid = $1', name, col, col) USING place;
    END LOOP;
  END LOOP;
END $$
"""
WRITTEN: Final = """
SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
WHERE attrelid = format('bsky.%I', $1::text)::regclass AND attnum > 0 AND attgenerated = ''
  AND NOT attisdropped
"""


@dataclass(frozen=True)
class Damage:
    """What is done to a table, and where it must show: the method, and a word of the place."""

    table: str
    sql: str
    method: str
    place: str


def _first(table: str, where: str = "true") -> str:
    return f'ctid = (SELECT ctid FROM bsky."{table}" WHERE {where} ORDER BY ctid LIMIT 1)'


def _gone(table: str, method: str, place: str) -> Damage:
    """A row is not there."""
    return Damage(table, f'DELETE FROM bsky."{table}" WHERE {_first(table)}', method, place)


def _other(table: str, column: str, value: str, where: str = "true") -> str:
    """A column says something else."""
    return f'UPDATE bsky."{table}" SET "{column}" = {value} WHERE {where}'


# Of each table that the peer's servers read for what the events tell. None reads
# `duplicate_record`, `post_embed_external`, `post_embed_record`, `thread_gate` and `post_gate`.
DAMAGES: Final = (
    Damage("actor", _other("actor", "handle", "'other.test'", _first("actor")),
           "GetActors", "handle"),
    _gone("actor_block", "GetBlocks", "blockUris"),
    _gone("feed_generator", "GetActorFeeds", "uris"),
    _gone("feed_item", "GetAuthorFeed", "items"),
    _gone("follow", "GetFollows", "follows"),
    _gone("labeler", "GetActors", "labeler"),
    _gone("like", "GetActorLikes", "likes"),
    _gone("list", "GetActorLists", "listUris"),
    _gone("list_block", "GetBlocklistSubscriptions", "listUris"),
    _gone("list_item", "GetListMembers", "listitems"),
    _gone("notification", "GetNotifications", "notifications"),
    _gone("op_thread_reply", "GetPostRecords", "opThread"),
    Damage("post", _other("post", "violatesThreadGate", "NULL"),
           "GetPostRecords", "violatesThreadGate"),
    Damage("post_agg", _other("post_agg", "likeCount", '"likeCount" + 1'),
           "GetInteractionCounts", "likes"),
    Damage("post_embed_gallery_image", "DELETE FROM bsky.post_embed_gallery_image",
           "GetAuthorFeed", "items"),
    Damage("post_embed_image", "DELETE FROM bsky.post_embed_image", "GetAuthorFeed", "items"),
    _gone("post_embed_video", "GetAuthorFeed", "items"),
    Damage("profile", _other("profile", "joinedViaStarterPackUri", "NULL"),
           "GetStarterPackCounts", "joined"),
    Damage("profile_agg", _other("profile_agg", "followersCount", "99", _first("profile_agg")),
           "GetCountsForUsers", "followers"),
    _gone("quote", "GetQuotesBySubjectSorted", "uris"),
    Damage("record", _other("record", "json", "replace(json, 'Renamed', 'Named')"),
           "GetListRecords", "name"),
    _gone("reference_list_opt_out", "GetReferencelistoptoutsByActorAndSubjects", "uris"),
    _gone("repost", "GetActorReposts", "uris"),
    _gone("starter_pack", "GetActorStarterPacks", "uris"),
    _gone("verification", "GetActors", "verifiedBy"),
)  # fmt: skip


async def copy(server: EmbeddedPostgres, original: str, name: str) -> str:
    """A copy of a database that nobody is connected to; returns its URL."""
    await execute(server.url(), f"CREATE DATABASE {name} TEMPLATE {original}")
    return server.url(name)


async def restore(url: str, table: str, original_url: str) -> None:
    """The table's rows are those of the original again."""
    original = await asyncpg.connect(original_url)
    damaged = await asyncpg.connect(url)
    try:
        columns = await original.fetchval(WRITTEN, table)
        rows = await original.fetch(f'SELECT {columns} FROM bsky."{table}"')
        await damaged.execute(f'DELETE FROM bsky."{table}"')
        places = ", ".join(f"${i + 1}" for i in range(columns.count(",") + 1))
        insert = f'INSERT INTO bsky."{table}" ({columns}) VALUES ({places})'
        await damaged.executemany(insert, [tuple(row) for row in rows])
    finally:
        await original.close()
        await damaged.close()
