"""Invariant 9: no statement of the hot path scans, counts or sorts more than its window.

Every statement is run by EXPLAIN ANALYZE over tables of many rows, with the settings that the
projectors have, planned for its values and planned for any (as prepared statements come to be).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from events import history, log, recent
from projections.like import likes
from projections.post import posts
from projections.profile_agg import profile_agg
from projector import statements
from projector.aggregate import merge_statement, prune_statement
from projector.database import APPLY_SETTINGS
from projector.declare import Projection
from projector.statements import counters_of, live, statements_of
from tests.support import engine
from tests.support.harness import Stage

BIG = 40_000
WINDOW = 20
# A row of the window may meet a few rows in each index: its own, its claim's, its claim's losers.
ROWS_MAX = 12 * WINDOW
# To find one takes a page of each of the index's three levels and one of the table, and some of
# what earlier statements left dead.
PAGES_PER_ROW_MAX = 12

DID = "'did:plc:' || lpad((i % 5000)::text, 24, '0')"
URI = f"'at://' || {DID} || '/app.bsky.feed.like/' || i"
SUBJECT = "'at://did:plc:popular/app.bsky.feed.post/' || i / 5000"
PLANT = [
    f"""INSERT INTO bsky."like" (uri, cid, creator, subject, "subjectCid", "createdAt", "indexedAt")
    SELECT {URI}, 'bafyrei' || i, {DID}, {SUBJECT}, 'c', '2024', '2024'
    FROM generate_series(1, {BIG}) i""",
    f"""INSERT INTO projector.duplicate_like (uri, cid, creator, subject, "subjectCid", "createdAt",
    "indexedAt") SELECT {URI} || 'dup', 'c', {DID}, {SUBJECT}, 'c', '2024', '2025'
    FROM generate_series(1, {BIG}) i""",
    f"""INSERT INTO bsky.duplicate_record SELECT {URI} || 'dup', 'c', {URI}, '2025'
    FROM generate_series(1, {BIG}) i""",
    f"INSERT INTO projector.version_like SELECT {URI}, '3l' FROM generate_series(1, {BIG}) i",
    f"""INSERT INTO bsky.post (uri, cid, creator, text, "replyParent", "createdAt", "indexedAt")
    SELECT {URI}, 'bafyrei' || i, {DID}, 'x', {SUBJECT}, '2024', '2024'
    FROM generate_series(1, {BIG}) i""",
    f"INSERT INTO projector.version_post SELECT {URI}, '3l' FROM generate_series(1, {BIG}) i",
    f"INSERT INTO bsky.profile_agg SELECT 'did:' || i, 1, 1, 1 FROM generate_series(1, {BIG}) i",
    """INSERT INTO projector.outbox (aggregate, counter, keys, deltas, projection, through_offset)
    SELECT a, 'postsCount', ARRAY['did:' || i], '{1}', 'post', i
    FROM generate_series(1, 2000) i, unnest('{profile_agg,post_agg}'::text[]) a""",
    f"""INSERT INTO projector.event_log SELECT i, {DID}, 'commit', 'delete', 'app.bsky.feed.like',
    i, '3l', NULL, '', NULL, now(), now() FROM generate_series(1, {BIG - 1}) i""",
    f"UPDATE projector.log_head SET head = {BIG - 1}",
    f"""INSERT INTO projector.append_trace SELECT i * 10, i * 10 - 9, ''
    FROM generate_series(1, {BIG // 10}) i""",
    "ANALYZE",
]
BIG_TABLES = {"like", "post", "duplicate_like", "duplicate_record", "version_like", "version_post",
              "profile_agg", "outbox", "event_log_000000000000001", "append_trace"}  # fmt: skip


@pytest.fixture(scope="module")
def crowd(stage: Stage, runner: asyncio.Runner) -> Iterator[asyncpg.Connection]:
    """A connection of a projector to a database of many rows."""

    async def planted() -> asyncpg.Connection:
        connection = await stage.database.connect("test", **APPLY_SETTINGS)
        for statement in PLANT:
            await connection.execute(statement)
        return connection

    connection = runner.run(planted())
    yield connection
    connection.terminate()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def pages(node: dict[str, Any]) -> int:
    """The pages that a node without children read."""
    return int(node["Shared Hit Blocks"] + node["Shared Read Blocks"])


def touched(node: dict[str, Any]) -> int:
    """The rows that a node looked at, whether it kept them or not."""
    counts = [node[name] for name in node if name.startswith(("Actual Rows", "Rows Removed"))]
    return round(sum(counts) * node["Actual Loops"])


async def assert_bounded(
    connection: asyncpg.Connection, name: str, sql: str, values: tuple[Any, ...], rows_max: int
) -> None:
    types = ", ".join(_type(value) for value in values)
    texts = ", ".join([await connection.fetchval("SELECT quote_nullable($1)", _literal(v))
                       for v in values])  # fmt: skip
    for mode in ("force_custom_plan", "force_generic_plan"):
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
            prepare = f"PREPARE hot {f'({types})' if values else ''} AS {sql}"
            await connection.execute(prepare)
            run = f"EXECUTE hot {f'({texts})' if values else ''}"
            [[answer]] = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {run}")
            await connection.execute("DEALLOCATE hot")
        finally:
            await transaction.rollback()
        for node in nodes(json.loads(answer)[0]["Plan"]):
            where = f"{name}, {mode}: {node['Node Type']} on {node.get('Relation Name')}"
            if node.get("Relation Name") in BIG_TABLES:
                assert node["Node Type"] != "Seq Scan", where
            assert touched(node) <= rows_max, where
            if "Scan" in node["Node Type"] and ("Relation Name" in node or "Index Name" in node):
                # An index may be read from end to end and give no row at all.
                assert pages(node) <= PAGES_PER_ROW_MAX * max(rows_max // 12, 5), where


def _type(value: Any) -> str:
    if isinstance(value, list):
        return "integer[]" if value and isinstance(value[0], int) else "text[]"
    return "bigint" if isinstance(value, int) else "text"


def _literal(value: Any) -> str | None:
    if isinstance(value, list):
        return "{" + ",".join("NULL" if v is None else f'"{v}"' for v in value) + "}"
    return None if value is None else str(value)


def did(i: int) -> str:
    return "did:plc:" + str(i % 5000).zfill(24)


def uri(i: int) -> str:
    return f"at://{did(i)}/app.bsky.feed.like/{i}"


def joined(*columns: list[str]) -> list[str]:
    """Columns as they are sent: each as one text, its values each after the separator."""
    return ["".join("," + value for value in column) for column in columns]


def rows_of(projection: Projection, numbers: range, suffix: str = "") -> list[list[Any]]:
    """Rows to send, a list for each column."""
    values = {"uri": lambda i: uri(i) + suffix, "creator": did, "langs": lambda _: None,
              "subject": lambda i: f"at://did:plc:popular/app.bsky.feed.post/{i // 5000}",
              "tags": lambda _: None}  # fmt: skip
    return [
        [values.get(c, lambda i: f"x{i}")(i) for i in numbers] for c in projection.table.columns
    ]


def keys_of(projection: Projection, numbers: range, suffix: str = "") -> tuple[str, ...]:
    """The separator, and the uris and claims of rows, each column in one text."""
    columns = projection.table.columns
    rows = rows_of(projection, numbers, suffix)
    keys = [rows[columns.index(name)] for name in ("uri", *(projection.table.unique or ()))]
    return ("\n", *("\n" + "\n".join(key) for key in keys))


@pytest.mark.both_servers
def test_invariant_9_statements_touch_no_more_than_their_window(
    crowd: asyncpg.Connection, runner: asyncio.Runner
) -> None:
    runner.run(_likes_and_posts(crowd))


async def _likes_and_posts(crowd: asyncpg.Connection) -> None:
    sql = statements_of(likes, live(likes, "bsky"), counters_of(likes, engine.DECLARATIONS))
    old, new = range(1000, 1000 + WINDOW), range(BIG + 1, BIG + 1 + WINDOW)
    uris = [uri(i) for i in old]
    claims = ([f"at://did:plc:popular/app.bsky.feed.post/{i // 5000}" for i in old],
              [did(i) for i in old])  # fmt: skip
    assert likes.table.unique == ("subject", "creator")
    accounts = [did(3)]  # has twenty rows
    calls: list[tuple[str, str | None, tuple[Any, ...]]] = [
        ("search for new rows", sql.taken, keys_of(likes, new)),
        ("search for rows that are there", sql.taken, keys_of(likes, old)),
        ("search for rows whose claim is taken", sql.taken, keys_of(likes, old, "new")),
        ("search for records of which anything is known", sql.known, (uris,)),
        ("held", sql.held, tuple(rows_of(likes, old))),
        ("search for who holds claims", sql.holders, claims),
        ("shelve", sql.shelve, tuple(rows_of(likes, new))),
        ("delete", sql.delete, (uris,)),
        ("delete of duplicates", sql.delete_duplicates, ([u + "dup" for u in uris],)),
        ("versions", sql.versions, (uris,)),
        ("put versions", sql.put_versions, (uris, ["3m"] * WINDOW)),
        ("demote", sql.demote, claims),
        ("promote", sql.promote, claims),
        ("list again by claim", sql.relist_groups, claims),
        ("list again by uri", sql.relist_uris, ([u + "dup" for u in uris],)),
        ("removal", sql.remove_accounts, (accounts, 1)),
        ("removal of duplicates", sql.remove_account_duplicates, (accounts,)),
        ("forgetting", sql.forget_account, (f"at://{did(3)}/", f"at://{did(3)}0")),
    ]  # fmt: skip
    named = {getattr(sql, field) for field in sql.__slots__ if isinstance(getattr(sql, field), str)}
    assert named == {statement for _, statement, _ in calls}
    for name, statement, values in calls:
        assert statement is not None
        await assert_bounded(crowd, name, statement, values, ROWS_MAX)

    sql = statements_of(posts, live(posts, "bsky"), counters_of(posts, engine.DECLARATIONS))
    assert posts.judged is not None
    verdicts = [[None] * WINDOW] * len(posts.judged.columns)
    for name, statement, values in (
        ("search for new posts", sql.taken, keys_of(posts, new)),
        ("search for posts that are there", sql.taken, keys_of(posts, old)),
        ("held posts", sql.held, tuple(rows_of(posts, old))),
        ("posts in place", sql.shelve, (*rows_of(posts, new), *verdicts)),
        ("delete of posts", sql.delete, (uris,)),
        ("removal of posts", sql.remove_accounts, (accounts, 1)),
    ):
        await assert_bounded(crowd, name, statement, values, ROWS_MAX)


def test_invariant_9_claims_given_up_promote_by_index(
    crowd: asyncpg.Connection, runner: asyncio.Runner
) -> None:
    """The claims are free, so the first who waits is looked for and moved."""
    runner.run(_promotions(crowd))


async def _promotions(crowd: asyncpg.Connection) -> None:
    old = range(1000, 1000 + WINDOW)
    sql = statements_of(likes, live(likes, "bsky"), counters_of(likes, engine.DECLARATIONS))
    assert sql.promote is not None
    assert sql.demote is not None
    claims = ([f"at://did:plc:popular/app.bsky.feed.post/{i // 5000}" for i in old],
              [did(i) for i in old])  # fmt: skip
    await crowd.execute('DELETE FROM bsky."like" WHERE uri = ANY($1)', [uri(i) for i in old])
    await assert_bounded(crowd, "promote", sql.promote, claims, ROWS_MAX)
    assert len(await crowd.fetch(sql.promote, *claims)) == WINDOW


def test_invariant_9_merges_reads_and_appends_are_bounded(
    crowd: asyncpg.Connection, runner: asyncio.Runner
) -> None:
    merge = merge_statement(profile_agg, "bsky")
    prune = prune_statement(profile_agg, "bsky")
    calls: list[tuple[str, str, tuple[Any, ...], int]] = [
        ("merge", merge, ("profile_agg", 24), ROWS_MAX),
        ("prune", prune, ([f"did:{i}" for i in range(WINDOW)],), ROWS_MAX),
        ("read", history.READ, (5001, 5000 + WINDOW, ["app.bsky.feed.post"]), ROWS_MAX),
        ("read all", history.READ, (5001, 5000 + WINDOW, None), ROWS_MAX),
        ("tail", recent.TAIL, (BIG - WINDOW,), ROWS_MAX),
        ("head", log.HEAD, (), 1),
        ("move head", log.MOVE_HEAD, (5,), 1),
        ("traces of the last window", log.TRACES, (BIG - WINDOW, BIG), ROWS_MAX),
        ("forget traces", log.FORGET_TRACES, (WINDOW,), ROWS_MAX),
        ("checkpoint", statements.CHECKPOINT, ("like",), 10),
    ]
    for name, sql, values, rows_max in calls:
        runner.run(assert_bounded(crowd, name, sql, values, rows_max))


@pytest.mark.parametrize(
    ("sql", "value", "found"),
    [
        ('DELETE FROM bsky."like" WHERE "viaCid" = $1', "?", "Seq Scan on like"),
        ('DELETE FROM bsky."like" WHERE cid = $1', "?", "on like"),
        ('SELECT count(*) FROM bsky."like" WHERE uri > $1', "at", "Index"),
    ],
)
def test_invariant_9_a_statement_that_scans_would_be_found(
    crowd: asyncpg.Connection, runner: asyncio.Runner, sql: str, value: str, found: str
) -> None:
    with pytest.raises(AssertionError, match=found):
        runner.run(assert_bounded(crowd, "x", sql, (value,), ROWS_MAX))
