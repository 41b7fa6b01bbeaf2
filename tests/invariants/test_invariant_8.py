"""Invariant 8: nothing is dropped in silence; bad input stops nothing, a broken state stops all."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import asyncpg
import msgspec
import pytest

from events.event import Batch, Event, Undecodable
from events.log import Appender, LogCorrupt
from projector.daemon import Daemon
from projector.database import Database
from projector.errors import Corruption, SchemaMismatch
from projector.settings import Settings
from tests.support import engine
from tests.support.histories import CIDS, FOLLOW, LIKE, POST, REPOST, made
from tests.support.model import Model

LETTERS = """
SELECT projection, log_offset, stage, reason, error FROM projector.dead_letter
WHERE projection IS NOT NULL ORDER BY projection, log_offset
"""


async def rows(database: Database, sql: str) -> list[tuple[Any, ...]]:
    connection = await database.connect("test read")
    found = [tuple(row) for row in await connection.fetch(sql)]
    await connection.close()
    return found


async def execute(database: Database, *statements: str) -> None:
    connection = await database.connect("test plant")
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def too_long_for_an_index(number: int, collection: str) -> Event:
    """Valid by its lexicon, and of no use to a B-tree, which takes 2,704 bytes a row."""
    noise = "".join(random.Random(number).choices("abcdefghijklmnopqrstuvwxyz234567", k=8000))
    ref = {"uri": f"at://did:plc:{'a' * 24}/{POST}/r0#/{noise}", "cid": CIDS[5]}
    record = {"$type": collection, "createdAt": "2026-07-04T00:00:00Z", "subject": ref,
              "text": "x", "reply": {"root": ref, "parent": ref}}  # fmt: skip
    event = made(number, "create", collection, account=3, rkey=4)
    return msgspec.structs.replace(event, record=json.dumps(record).encode())


async def test_invariant_8_an_undecodable_message_is_kept_raw_and_counted(
    database: Database,
) -> None:
    await engine.create(database)
    connection = await database.connect("test append")
    appender = Appender(connection, "test", partition_events=1000)
    await appender.open()
    raw = b'\x00\xff{"did":\xc3('
    dead = [
        Undecodable(raw, "malformed", "no JSON: \0", "17"),
        Undecodable(b"", "malformed", "empty", "18"),
    ]
    events = [made(1, "create", POST), made(2, "create")]
    appended = await appender.append(Batch("20", events, dead))
    assert (appended.first_offset, appended.last_offset, appended.undecodable) == (1, 2, 2)
    letters = await rows(
        database,
        "SELECT stage, reason, source, source_cursor, raw, attempts, projection, log_offset"
        " FROM projector.dead_letter ORDER BY id",
    )
    assert letters == [
        ("decode", "malformed", "test", "17", raw, 1, None, None),
        ("decode", "malformed", "test", "18", b"", 1, None, None),
    ]
    # The same message again, from a rewind: counted, not kept twice.
    await appender.append(Batch("20", [], dead[:1]))
    counted = (
        "SELECT undecodable, events, cursor FROM projector.source_cursor WHERE source = 'test'"
    )
    assert await rows(database, counted) == [(3, 2, "20")]
    attempts = "SELECT attempts FROM projector.dead_letter ORDER BY id"
    assert await rows(database, attempts) == [(2,), (1,)]
    await engine.project(database)
    assert [len((await engine.tables_of(database))[t]) for t in ("post", "like")] == [1, 1]
    await connection.close()


@pytest.mark.parametrize("window", [1, 3, 100])
async def test_invariant_8_an_invalid_record_is_a_letter_of_its_projection(
    database: Database, window: int
) -> None:
    events = [
        made(1, "create", POST),
        made(2, "invalid", POST, rkey=1),
        made(3, "invalid update", POST),
        made(4, "create"),
        made(5, "invalid", rkey=1),
        made(6, "create", FOLLOW),
    ]
    await engine.create(database)
    await engine.append(database, events)
    await engine.project(database, window_events=window)
    letters = await rows(database, LETTERS)
    assert [letter[:4] for letter in letters] == [
        ("like", 5, "validate", "invalid-record"),
        ("post", 2, "validate", "invalid-record"),
        ("post", 3, "validate", "invalid-record"),
    ]
    assert all(error for *_, error in letters)
    model = Model(msgspec.structs.replace(e, log_offset=i) for i, e in enumerate(events, 1))
    assert await engine.tables_of(database) == model.tables()


@pytest.mark.parametrize(
    ("collection", "table"), [(LIKE, "like"), (REPOST, "repost"), (POST, "post")]
)
async def test_invariant_8_what_postgres_refuses_is_isolated(
    database: Database, collection: str, table: str
) -> None:
    """By halving: exactly the refused events are letters, and all others are applied."""
    events = [made(n, "create", collection, account=n % 3, rkey=n % 5, subject=n % 2)
              for n in range(1, 101)]  # fmt: skip
    refused = (1, 38, 39, 100)
    for n in refused:
        events[n - 1] = too_long_for_an_index(n, collection)
    await engine.create(database)
    await engine.append(database, events)
    await engine.project(database, window_events=1000)
    letters = await rows(database, LETTERS)
    assert [letter[:4] for letter in letters] == [(table, n, "apply", "refused") for n in refused]
    assert all("index row" in error for *_, error in letters)
    model = Model(
        msgspec.structs.replace(e, log_offset=i)
        for i, e in enumerate(events, 1)
        if i not in refused
    )
    assert await engine.tables_of(database) == model.tables()
    assert await engine.differences(database) == []
    checkpoints = "SELECT DISTINCT log_offset FROM projector.checkpoint WHERE projection <> ALL"
    assert await rows(database, checkpoints + " ('{profile_agg,post_agg}')") == [(100,)]


async def refuses_to_run(database: Database, error: type[Exception], match: str) -> None:
    settings = Settings(window_events_max=100)
    daemon = Daemon(database, engine.DECLARATIONS, settings)
    with pytest.raises(error, match=match):
        await asyncio.wait_for(daemon.run(asyncio.Event()), 30)


async def test_invariant_8_a_checkpoint_beyond_the_head_stops_loudly(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, [made(1, "create")])
    await execute(
        database, "UPDATE projector.checkpoint SET log_offset = 5 WHERE projection = 'like'"
    )
    await refuses_to_run(database, Corruption, "like is at offset 5, beyond the log's head 1")


async def test_invariant_8_a_log_without_a_head_stops_loudly(database: Database) -> None:
    await engine.create(database)
    await execute(database, "DELETE FROM projector.log_head")
    await refuses_to_run(database, LogCorrupt, "log_head")
    connection = await database.connect("test append")
    with pytest.raises(LogCorrupt):
        await Appender(connection, "test").open()
    await connection.close()


async def test_invariant_8_a_lost_checkpoint_stops_loudly(database: Database) -> None:
    await engine.create(database)
    await execute(database, "DELETE FROM projector.checkpoint WHERE projection = 'post'")
    await refuses_to_run(database, SchemaMismatch, "post")


PLANT_WAITING = """
INSERT INTO projector.duplicate_like (uri, cid, creator, subject, "subjectCid", "createdAt",
    "indexedAt") SELECT uri, cid, creator, $1, "subjectCid", "createdAt", "indexedAt"
FROM bsky."like"
"""


async def test_invariant_8_tables_that_contradict_each_other_stop_loudly(
    database: Database,
) -> None:
    """A record both in the table and waiting: giving it the claim it waits for must fail."""
    await engine.create(database)
    await engine.append(database, [made(1, "create")])
    await engine.project(database)
    other = made(2, "create", rkey=1, subject=1)
    connection = await database.connect("test plant")
    subject = json.loads(other.record or b"")["subject"]["uri"]
    await connection.execute(PLANT_WAITING, subject)
    await connection.close()
    await engine.append(database, [other, made(3, "delete", rkey=1, subject=1)])
    settings = Settings(window_events_max=1, window_events_min=1)
    with pytest.raises(Corruption, match=r"like.*contradict each other"):
        await Daemon(database, engine.DECLARATIONS, settings).run(asyncio.Event())
    likes = (await engine.tables_of(database))["like"]
    assert [row["uri"][-3:] for row in likes] == ["/r0", "/r1"]  # the deletion was rolled back
    assert await engine.differences(database) == []


async def test_invariant_8_a_refused_statement_of_ours_is_no_dead_letter(
    database: Database,
) -> None:
    """A table that lost a column is our trouble, not the event's."""
    await engine.create(database)
    await engine.append(database, [made(1, "create")])
    await execute(database, 'ALTER TABLE bsky."like" DROP COLUMN "viaCid"')
    await refuses_to_run(database, asyncpg.UndefinedColumnError, "viaCid")
    assert await rows(database, LETTERS) == []
