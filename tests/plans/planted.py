"""Tables planted full and lopsided, as the network's are.

Of every ten rows of a projection five are of one popular subject, by an account each; one is by one
busy account, of a subject each; the others are of accounts with twenty rows and of subjects with a
few. Accounts are hashes of numbers, so that neighbours in a window are none in an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import md5
from typing import Final

import asyncpg

from projector.declare import Projection, Row
from projector.statements import live
from tests.support.court import TOLD
from tests.support.engine import AGGREGATES
from tests.support.harness import PROJECTIONS

ROWS: Final = 100_000
"""Rows of a table of records, half of them of the popular subject."""
FEWER: Final = {"post": ROWS // 4, "repost": ROWS // 2}
"""Tables with fewer rows, to save time."""
TENTH: Final = ROWS // 10
RIVAL_EVERY: Final = 7
"""Of every so many rows one has a rival: a record with its claim, on the shelf."""
REVISED_EVERY: Final = 5
RARER: Final = 5
"""So many times rarer are rivals beyond the first tenth, to save time."""
UNHELD: Final = 10_000_000
"""From this number on there are no rows, only rivals."""
NEW: Final = 20_000_000
"""From this number on there is nothing."""
CROWDED: Final = (RIVAL_EVERY, UNHELD + RIVAL_EVERY)
"""Two claims with many rivals: one that a row holds, and one that is free."""
CROWD: Final = 1_000

PARTITION_EVENTS: Final = 10_000
TRACED_EVENTS: Final = 5
"""Events in each append that was traced."""
OUTBOX_EVERY: Final = 20
OUTBOX_ROWS: Final = 24
"""Rows of the outbox that are taken at once."""
DELTAS: Final = 8
"""Keys in each row of the outbox."""
LETTERS_EVERY: Final = 10

BUSY: Final = "did:plc:busybusybusybusybusybusy"
POPULAR: Final = "did:plc:popularpopularpopularpop"

ENGINE: Final = (
    """INSERT INTO projector.event_log
    SELECT i, 'did:plc:' || left(md5(i::text), 24), 'commit', 'create', 'app.bsky.feed.like',
        '3l' || i, '3l', 'bafy', '', NULL, now(), now()
    FROM generate_series($1::bigint, $2::bigint) AS i""",
    "UPDATE projector.log_head SET head = $2::bigint WHERE head < $1::bigint",
    f"""INSERT INTO projector.append_trace
    SELECT i + {TRACED_EVENTS - 1}, i, '00-' || md5(i::text) || '-0123456789abcdef-01'
    FROM generate_series($1::bigint, $2::bigint, {TRACED_EVENTS}) AS i""",
    f"""INSERT INTO projector.window_trace
    SELECT 'like', i + {TRACED_EVENTS - 1}, i - 1, '00-' || md5(i::text) || '-0123456789abcdef-01'
    FROM generate_series($1::bigint, $2::bigint, {TRACED_EVENTS}) AS i""",
    f"""INSERT INTO projector.merge_trace
    SELECT 'like', i + {TRACED_EVENTS - 1}, 'post_agg', '00-' || md5(i::text) || '-01234567-01'
    FROM generate_series($1::bigint, $2::bigint, {TRACED_EVENTS}) AS i""",
    f"""INSERT INTO projector.dead_letter (stage, reason, error, projection, log_offset)
    SELECT 'apply', 'refused', 'why', 'like', i
    FROM generate_series($1::bigint, $2::bigint, {LETTERS_EVERY}) AS i""",
    f"""INSERT INTO projector.dead_letter (stage, reason, error, source, source_cursor, raw)
    SELECT 'decode', 'no-json', 'why', 'source 1', i::text, 'x'
    FROM generate_series($1::bigint, $2::bigint, {LETTERS_EVERY}) AS i""",
)
"""What fills the engine's own tables, from number $1 to $2."""
FEW: Final = (
    "INSERT INTO projector.source_cursor (source) SELECT 'source ' || generate_series(1, 5)",
    """INSERT INTO projector.lease
    SELECT 'projection ' || i, 'owner ' || i, 0, now(), now() FROM generate_series(1, 12) AS i""",
)
"""The tables that stay small."""


@cache
def account(kind: str, n: int) -> str:
    """The n-th account of a kind."""
    return "did:plc:" + md5(f"{kind}{n}".encode(), usedforsecurity=False).hexdigest()[:24]


def creator(i: int) -> str:
    """The account that wrote row i."""
    if i % 10 < 5:
        return account("fan", i)
    return BUSY if i % 10 == 5 else account("writer", i // 50)


def subject(i: int) -> str:
    """The account that row i points at, or whose post it points at."""
    if i % 10 < 5:
        return POPULAR
    return account("one", i) if i % 10 == 5 else account("some", i % 5000)


def uri(collection: str, i: int) -> str:
    """The at-uri of row i."""
    return f"at://{creator(i)}/{collection}/3l{i:011}"


def cells(collection: str, i: int) -> dict[str, str | None]:
    """What row i has in each column; a column that is not among them has its name."""
    did, other = creator(i), subject(i)
    post, moment = f"at://{other}/app.bsky.feed.post/3laaaaaaaaaaa", f"2024-{i:011}"
    return {
        "uri": f"at://{did}/{collection}/3l{i:011}",
        "creator": did,
        "subjectDid": other,
        "subject": post,
        "replyParent": post,
        "replyRoot": post,
        "createdAt": moment,
        "indexedAt": moment,
        "langs": None,
        "tags": None,
        "via": None,
        "viaCid": None,
    }


def row_of(projection: Projection, i: int) -> Row:
    """Row i."""
    known = cells(projection.collection, i)
    return tuple([known.get(column, column) for column in projection.table.columns])


def rival_uri(projection: Projection, i: int, n: int = 0) -> str:
    """The at-uri of the n-th rival of row i."""
    return f"{uri(projection.collection, i)}r{n}"


def rival_of(projection: Projection, i: int, n: int = 0) -> Row:
    """A rival of row i; of every second row one that was there before it."""
    columns = projection.table.columns
    row = list(row_of(projection, i))
    row[columns.index("uri")] = rival_uri(projection, i, n)
    row[columns.index("indexedAt")] = f"202{3 + i // RIVAL_EVERY % 2 * 2}-{i:011}"
    return tuple(row)


def counted_key(i: int) -> str:
    """The i-th key of each aggregate."""
    return account("key", i)


async def plant(connection: asyncpg.Connection, numbers: range) -> None:
    """Plants the rows of these numbers in every table."""
    for projection in PROJECTIONS:
        await _plant_records(connection, projection, numbers)
    for aggregate in AGGREGATES:
        names = [*aggregate.counters, *aggregate.foreign]
        rows = [(counted_key(i), *[5] * len(names)) for i in numbers[::2]]
        await _copy(connection, f"bsky.{aggregate.table}", [aggregate.key, *names], rows)
        waiting = [
            (aggregate.name, next(iter(aggregate.counters)),
             [counted_key(i + 2 * k) for k in range(DELTAS)], [1] * DELTAS, "like", i)
            for i in numbers[::OUTBOX_EVERY]
        ]  # fmt: skip
        columns = ["aggregate", "counter", "keys", "deltas", "projection", "through_offset"]
        await _copy(connection, "projector.outbox", columns, waiting)
    await _plant_notifications(connection, numbers)
    for statement in ENGINE:
        await connection.execute(statement, numbers[0], numbers[-1])


async def _plant_notifications(connection: asyncpg.Connection, numbers: range) -> None:
    """Plants a notification of each row of the first tenth of every source; and what waits, so much
    for each turn, under a name of its own."""
    waiting: list[Row] = []
    for name, source in TOLD.sources.items():
        collection = source.of.collection
        told = [
            (subject(i), uri(collection, i), "c", creator(i), name, None, "2024")
            for i in numbers if i <= TENTH
        ]  # fmt: skip
        await _copy(connection, f"bsky.{TOLD.table}", TOLD.columns, told)
        waiting += [
            (TOLD.name, name, [uri(collection, i + k) for k in range(DELTAS)], [0] * DELTAS,
             source.of.name, i)
            for i in numbers[::OUTBOX_EVERY]
        ]  # fmt: skip
    columns = ["aggregate", "counter", "keys", "deltas", "projection", "through_offset"]
    in_order = sorted(waiting, key=lambda row: row[-1])
    rows = [(f"{name} {at // OUTBOX_ROWS}", *told) for at, (name, *told) in enumerate(in_order)]
    await _copy(connection, "projector.outbox", columns, rows)


async def plant_few(connection: asyncpg.Connection) -> None:
    """Plants the tables that stay small."""
    for statement in FEW:
        await connection.execute(statement)


async def _plant_records(
    connection: asyncpg.Connection, projection: Projection, numbers: range
) -> None:
    table, collection = projection.table, projection.collection
    numbers = range(numbers.start, min(numbers.stop, FEWER.get(table.name, ROWS) + 1))
    rows = [row_of(projection, i) for i in numbers]
    await _copy(connection, f"bsky.{table.name}", table.columns, rows)
    for child in projection.every_child:
        if child.hidden:
            others = child.columns[2:]
            said = [(uri(collection, i), subject(i), *others) for i in numbers]
            place = live(projection, "bsky").child(child)
            await _copy(connection, place, child.columns, said)
    revised = [(uri(collection, i), "3l00000000000") for i in numbers if not i % REVISED_EVERY]
    await _copy(connection, live(projection, "bsky").versions(projection), ["uri", "rev"], revised)
    if table.unique is None:
        return
    every = RIVAL_EVERY if numbers.start <= TENTH else RIVAL_EVERY * RARER
    contested = [i for i in numbers if not i % every]
    places = [(UNHELD * free + i, 0) for i in contested for free in (0, 1)]
    if numbers[0] < RIVAL_EVERY:
        places += [(i, n) for i in CROWDED for n in range(1, CROWD)]
    rivals = [rival_of(projection, i, n) for i, n in places]
    await _copy(connection, live(projection, "bsky").shelf(table), table.columns, rivals)
    listed = [(rival_uri(projection, i, n), "c", uri(collection, i), "2024") for i, n in places]
    columns = ["uri", "cid", "duplicateOf", "indexedAt"]
    await _copy(connection, f"bsky.{table.duplicates}", columns, listed)


async def _copy(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], rows: Iterable[Row]
) -> None:
    schema, name = table.replace('"', "").split(".")
    await connection.copy_records_to_table(name, schema_name=schema, columns=columns, records=rows)
