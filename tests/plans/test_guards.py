"""The guards themselves: they find what they are there to find."""

from __future__ import annotations

from dataclasses import replace

import pytest

from projector.database import Database
from tests.plans.guards import growth
from tests.plans.known import KNOWN
from tests.plans.life import (
    ANALYZED_WHEN_EMPTY,
    ANALYZED_WHEN_EVEN,
    GUARDS,
    KEYS,
    NO_AUTOVACUUM,
    TABLES_OF_OURS,
    Life,
    connected,
    generic,
)
from tests.plans.plan import Plan, Values, explained
from tests.plans.planted import BUSY, POPULAR
from tests.support.engine import create

BY_NAME = {guard.name: guard for guard in GUARDS}
SABOTAGE = [
    ("like: delete", 'ALTER TABLE bsky."like" DROP CONSTRAINT like_pkey'),
    ("like: delete", "ALTER INDEX bsky.like_pkey RENAME TO another"),
    ("like: held", "ALTER TABLE projector.duplicate_like DROP CONSTRAINT duplicate_like_pkey"),
    ("like: taken", 'ALTER TABLE bsky."like" DROP CONSTRAINT like_unique_subject'),
    ("like: promote", "DROP INDEX projector.duplicate_like_claim_idx"),
    ("follow: relist_uris", "ALTER TABLE bsky.follow DROP CONSTRAINT follow_unique_subject"),
    ("post: versions", "ALTER TABLE projector.version_post DROP CONSTRAINT version_post_pkey"),
    ("post: remove_accounts", "DROP INDEX bsky.post_creator_cursor_idx"),
    (
        "like: forget_account",
        "ALTER TABLE projector.version_like DROP CONSTRAINT version_like_pkey",
    ),
    ("post_agg: merge", "ALTER TABLE projector.outbox DROP CONSTRAINT outbox_pkey"),
    ("profile_agg: prune", "ALTER TABLE bsky.profile_agg DROP CONSTRAINT profile_agg_pkey"),
    ("history.READ", "ALTER TABLE projector.event_log DROP CONSTRAINT event_log_pkey"),
    ("recent.TAIL", "ALTER TABLE projector.event_log DROP CONSTRAINT event_log_pkey"),
    ("log.TRACES", "ALTER TABLE projector.append_trace DROP CONSTRAINT append_trace_pkey"),
]
"""What is done to a database, and the statement whose guard is to notice."""
POST = f"at://{POPULAR}/app.bsky.feed.post/3laaaaaaaaaaa"
LIKES = 'bsky."like"'
BAD: list[tuple[str, str, Values, str]] = [
    ("a count for an event", f"SELECT count(*) FROM {LIKES} WHERE subject = $1", (POST,), "visits"),
    (
        "an index without its first column",
        'SELECT uri FROM projector.duplicate_like WHERE "indexedAt" = $1',
        ("2000",),
        "pages",
    ),
    (
        "a key that is worked on first",
        f"DELETE FROM {LIKES} WHERE lower(uri) = ANY($1)",
        (["at://x"],),
        "visits",
    ),
    (
        "a sort of all an account has",
        f'SELECT uri FROM {LIKES} WHERE creator = $1 ORDER BY "indexedAt" LIMIT 1',
        (BUSY,),
        "visits",
    ),
]
SIZES = f"SELECT relname, relpages, reltuples FROM pg_class WHERE oid IN ({TABLES_OF_OURS})"
FOLLOWS = """
INSERT INTO bsky.follow (uri, cid, creator, "subjectDid", "createdAt", "indexedAt")
SELECT 'at://' || i, i, 'did:' || i, 'did:' || i % $1, '2024', '2024' FROM generate_series(1, 300) i
"""
ESTIMATES = """
SELECT attname::text, n_distinct, most_common_vals IS NOT NULL FROM pg_stats
WHERE schemaname = 'bsky' AND tablename = 'follow' AND attname IN ('creator', 'subjectDid')
ORDER BY attname
"""


@pytest.mark.parametrize(("name", "statement"), SABOTAGE)
async def test_a_guard_misses_an_index_that_is_gone(life: Life, name: str, statement: str) -> None:
    guard = BY_NAME[name]
    values = next(iter(guard.windows.values()))
    async with connected(life.url) as roles:
        connection = roles[guard.role]
        before = await explained(connection, guard.sql, values(0, KEYS))
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(statement)
        after = await explained(connection, guard.sql, values(1, KEYS))
        await transaction.rollback()
    if name not in KNOWN:
        assert guard.breaches(before) == []
    assert guard.breaches(after) != []


@pytest.mark.parametrize(("sql", "values", "found"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
async def test_a_guard_finds_a_bad_statement(
    life: Life, sql: str, values: Values, found: str
) -> None:
    guard = replace(BY_NAME["like: demote"], sql=sql, keys=1)
    async with connected(life.url) as roles:
        plans = [await explained(roles["apply"], sql, values)]
        async with generic(roles["apply"], sql) as statement:
            plans.append(await statement.explained(values))
    for plan in plans:
        assert [x for x in guard.breaches(plan) if found in x]


def test_a_guard_finds_pages_that_grow_with_the_table() -> None:
    small, large = ({"Shared Hit Blocks": n, "Shared Read Blocks": 5} for n in (100, 200))
    assert growth(Plan(small), Plan(small)) is None
    assert growth(Plan(small), Plan(large)) == "105 pages became 205"


@pytest.mark.both_servers
async def test_statistics_are_what_analyze_leaves_of_empty_and_of_even_tables(
    database: Database,
) -> None:
    await create(database)
    connection = await database.connect("test")
    try:
        await connection.execute(NO_AUTOVACUUM)
        await connection.execute("DELETE FROM projector.checkpoint; ANALYZE bsky.follow")
        [empty] = [r for r in await connection.fetch(SIZES) if r["relname"] == "follow"]
        assert (empty["relpages"], empty["reltuples"]) == (0, 0)
        assert await connection.fetch(ESTIMATES) == []
        await connection.execute(ANALYZED_WHEN_EMPTY)
        assert {(r["relpages"], r["reltuples"]) for r in await connection.fetch(SIZES)} == {(0, 0)}

        await connection.execute(FOLLOWS, 300)
        await connection.execute("ANALYZE bsky.follow")
        even = await connection.fetch(ESTIMATES)
        assert {tuple(row)[1:] for row in even} == {(-1, False)}
        await connection.execute("DELETE FROM bsky.follow")
        await connection.execute(FOLLOWS, 7)
        await connection.execute("ANALYZE bsky.follow")
        assert await connection.fetch(ESTIMATES) != even
        await connection.execute(ANALYZED_WHEN_EVEN)
        assert await connection.fetch(ESTIMATES) == even
    finally:
        await connection.close()
