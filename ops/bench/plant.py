"""Tables that are full already: rows made inside Postgres, in the proportions of the network.

All that is random about row i is a hash of i, so that who likes a post knows its author and key.
Rows come in the order of time, from accounts in no order: so they lie in the tables, and so every
index has grown by inserts at random places. The accounts that write were made up here, and none of
them acts in the generated firehose, so no event of that meets a row of its own here. The accounts
that are followed are those of the firehose, so many of its counters exist already.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

import asyncpg

from events.generate.ids import dids
from projector.database import Database
from projector.declare import Aggregate, Declaration, Projection
from projector.home import listed, quoted
from projector.statements import live

SHARES: Final = {
    "app.bsky.feed.like": 0.70,
    "app.bsky.feed.post": 0.12,
    "app.bsky.feed.repost": 0.11,
    "app.bsky.graph.follow": 0.07,
}
"""Of all rows, by collection."""
ROWS_AN_ACCOUNT: Final = 20
TOUCHED: Final = 0.05
"""Records that were deleted or changed, whose revision is kept, to each row."""
SECONDS_MAX: Final = 7200.0

FUNCTIONS: Final = (
    """CREATE FUNCTION pg_temp.luck(kind integer, i bigint) RETURNS float8 IMMUTABLE
    RETURN (hashint8extended(i, kind) & 2147483647) / 2147483648.0::float8""",
    """CREATE FUNCTION pg_temp.letters(hex text) RETURNS text IMMUTABLE
    RETURN translate(hex, '0189', 'ghij')""",
    # All 32 letters, as in DIDs of the firehose: else those would fall into few gaps between these.
    """CREATE FUNCTION pg_temp.did(n bigint) RETURNS text IMMUTABLE
    RETURN 'did:plc:' || translate(encode(decode(md5(n::text), 'hex'), 'base64'),
        'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=',
        '234567abcdefghijklmnopqrstuvwxyz234567abcdefghijklmnopqrstuvwxyz2')""",
    """CREATE FUNCTION pg_temp.author(kind integer, i bigint, accounts bigint) RETURNS text
    IMMUTABLE RETURN pg_temp.did(floor(accounts * pg_temp.luck(kind, i) ^ 2)::bigint)""",
    """CREATE FUNCTION pg_temp.rkey(i bigint, rows bigint) RETURNS text IMMUTABLE
    RETURN '3' || translate(lpad(to_hex(i * (140737488355328 / rows)), 12, '0'),
        '0123456789abcdef', '234567abcdefghij')""",
    """CREATE FUNCTION pg_temp.uri(collection text, kind integer, i bigint, rows bigint,
        accounts bigint) RETURNS text IMMUTABLE
    RETURN 'at://' || pg_temp.author(kind, i, accounts) || '/' || collection || '/'
        || pg_temp.rkey(i, rows)""",
    """CREATE FUNCTION pg_temp.cid(kind integer, i bigint) RETURNS text IMMUTABLE
    RETURN 'bafyrei' || substr(pg_temp.letters(md5(i::text || kind::text)
        || md5(kind::text || i::text)), 1, 52)""",
    """CREATE FUNCTION pg_temp.moment(i bigint, rows bigint) RETURNS text STABLE
    RETURN to_char(timestamp '2024-01-01' + interval '900 days' * (i::float8 / rows),
        'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')""",
)

# `accounts` are those that write. A post is of kind 1 wherever it is named.
POINTERS: Final = """
INSERT INTO {table} (uri, cid, creator, subject, "subjectCid", "createdAt", "indexedAt")
SELECT pg_temp.uri('{collection}', {kind}, i, {rows}, {accounts}), pg_temp.cid({kind}, i),
    pg_temp.author({kind}, i, {accounts}),
    pg_temp.uri('app.bsky.feed.post', 1, p, {posts}, {accounts}), pg_temp.cid(1, p), at, at
FROM (SELECT i, pg_temp.moment(i, {rows}) AS at,
        1 + floor({posts} * pg_temp.luck(10 + {kind}, i) ^ 2)::bigint AS p
    FROM generate_series(1, {rows}::bigint) AS i OFFSET 0) AS g
ON CONFLICT DO NOTHING
"""
POSTS: Final = """
INSERT INTO {table} (uri, cid, creator, text, "replyRoot", "replyRootCid", "replyParent",
    "replyParentCid", "createdAt", "indexedAt", langs)
SELECT pg_temp.uri('{collection}', {kind}, i, {rows}, {accounts}), pg_temp.cid({kind}, i),
    pg_temp.author({kind}, i, {accounts}),
    'A text of no great length, ' || md5(i::text) || md5(i::text || ' '),
    parent, parent_cid, parent, parent_cid, at, at, '["en"]'
FROM (SELECT i, pg_temp.moment(i, {rows}) AS at,
        pg_temp.uri('{collection}', {kind}, p, {rows}, {accounts}) AS parent,
        pg_temp.cid({kind}, p) AS parent_cid
    FROM (SELECT i, CASE WHEN pg_temp.luck(11, i) < 0.4
                THEN greatest(1, i - 1 - floor(1000 * pg_temp.luck(12, i))::bigint) END AS p
        FROM generate_series(1, {rows}::bigint) AS i OFFSET 0) AS n OFFSET 0) AS g
"""
FOLLOWS: Final = """
INSERT INTO {table} (uri, cid, creator, "subjectDid", "createdAt", "indexedAt")
SELECT pg_temp.uri('{collection}', {kind}, i, {rows}, {accounts}), pg_temp.cid({kind}, i),
    pg_temp.author({kind}, i, {accounts}), followed.did, at, at
FROM (SELECT i, pg_temp.moment(i, {rows}) AS at,
        floor({followed} ^ pg_temp.luck(14, i))::integer AS n
    FROM generate_series(1, {rows}::bigint) AS i OFFSET 0) AS g JOIN pg_temp.followed USING (n)
ON CONFLICT DO NOTHING
"""
ROWS: Final = {
    "app.bsky.feed.post": (1, POSTS),
    "app.bsky.feed.like": (2, POINTERS),
    "app.bsky.feed.repost": (3, POINTERS),
    "app.bsky.graph.follow": (4, FOLLOWS),
}
"""The kind and the statement of each collection."""
VERSIONS: Final = """
INSERT INTO {versions} (uri, rev)
SELECT pg_temp.uri('{collection}', 20 + {kind}, i, {rows}, {accounts}), pg_temp.rkey(i, {rows})
FROM generate_series(1, {rows}::bigint) AS i ON CONFLICT DO NOTHING
"""
SAMPLE: Final = "FROM {table} TABLESAMPLE BERNOULLI (1) REPEATABLE (1)"
LATER: Final = "'2026-06-30T00:00:00.000Z'"


async def plant(
    database: Database,
    declarations: Sequence[Declaration],
    schema: str,
    rows: int,
    followed: Sequence[str],
) -> None:
    """Fills the tables of declarations with `rows` records in all, and whatever they count.

    Every hundredth record that can have a duplicate has one on the shelf.
    """
    patient = replace(database, command_timeout_seconds=SECONDS_MAX)
    connection = await patient.connect("plant", synchronous_commit="off", work_mem="256MB")
    try:
        for function in FUNCTIONS:
            await connection.execute(function)
        await connection.execute("CREATE TEMP TABLE followed (n integer, did text)")
        await connection.copy_records_to_table("followed", records=enumerate(followed, 1))
        await connection.execute("ANALYZE pg_temp.followed")
        for declaration in declarations:
            if isinstance(declaration, Projection):
                await _records(connection, declaration, schema, rows, len(followed))
        for declaration in declarations:
            if isinstance(declaration, Aggregate):
                await connection.execute(counts_statement(declaration, schema))
        await settle(connection)
    finally:
        await connection.close()


def accounts_followed(seed: int, accounts: int) -> list[str]:
    """The accounts of a generated firehose."""
    return dids(seed, accounts)


async def settle(connection: asyncpg.Connection) -> None:
    """Leaves what was planted as a server that has run for long: vacuumed, analysed, on disk."""
    await connection.execute("VACUUM ANALYZE")
    await checkpoint(connection)


async def checkpoint(connection: asyncpg.Connection) -> None:
    """Has all that is dirty written, where we may."""
    with suppress(asyncpg.InsufficientPrivilegeError):
        await connection.execute("CHECKPOINT")


async def _records(
    connection: asyncpg.Connection, projection: Projection, schema: str, rows: int, followed: int
) -> None:
    collection, table = projection.collection, projection.table
    (kind, sql), share = ROWS[collection], SHARES[collection]
    names: dict[str, object] = {
        "table": f"{quoted(schema)}.{quoted(table.name)}",
        "versions": live(projection, schema).versions(projection),
        "collection": collection,
        "kind": kind,
        "followed": followed,
        "accounts": max(1, rows // ROWS_AN_ACCOUNT),
        "posts": round(rows * SHARES["app.bsky.feed.post"]),
    }
    own = round(rows * share)
    await connection.execute(sql.format(**names, rows=own))
    await connection.execute(VERSIONS.format(**names, rows=max(1, round(own * TOUCHED))))
    if table.unique:
        for statement in _duplicates(projection, schema):
            await connection.execute(statement)


def _duplicates(projection: Projection, schema: str) -> list[str]:
    """A second record of some rows, that came later: on the shelf, and listed."""
    table, home = projection.table, live(projection, schema)
    changed = {"uri": "left(uri, -1) || 'z'", "indexedAt": LATER}
    values = ", ".join(changed.get(column, quoted(column)) for column in table.columns)
    sample = SAMPLE.format(table=home.base(table))
    return [
        f"INSERT INTO {home.shelf(table)} ({listed(table.columns)}) SELECT {values} {sample}",
        f"INSERT INTO {home.list(table)}"
        ' (uri, cid, "duplicateOf", "indexedAt")'
        f" SELECT {changed['uri']}, cid, uri, {LATER} {sample}",
    ]


def counts_statement(aggregate: Aggregate, schema: str) -> str:
    """Counts all rows into the counters of an empty aggregate."""
    names = tuple(aggregate.counters)
    sums = ", ".join(f"sum(n) FILTER (WHERE counter = '{name}')" for name in names)
    counts = " UNION ALL ".join(
        f"SELECT '{name}' AS counter, {quoted(count.by)} AS k, count(*) AS n"
        f" FROM {quoted(schema)}.{quoted(count.table)}"
        f" WHERE {quoted(count.by)} IS NOT NULL GROUP BY 2"
        for name, count in aggregate.counters.items()
    )
    zeros = ", ".join(f"coalesce({quoted(name)}, 0)" for name in names)
    return (
        f"INSERT INTO {quoted(schema)}.{quoted(aggregate.table)}"
        f" ({quoted(aggregate.key)}, {listed(names)}) SELECT k, {zeros}"
        f" FROM (SELECT k, {sums} FROM ({counts}) AS c GROUP BY k) AS s (k, {listed(names)})"
    )
