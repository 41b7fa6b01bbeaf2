"""Every kind of damage is found, and named for what it is, with what mends it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from projector.database import Database
from projector.logcheck import mend_head
from tests.support.engine import append, project
from tests.support.histories import COLLECTIONS, FOLLOW, LIKE, POST, made
from tests.verify.world import HISTORY, A, B, C, build, names_of, uri, verified

FIRST = "event_log_000000000000001"
SECOND = "event_log_000000000100001"
HEAD = len(HISTORY)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[asyncpg.Connection]:
    await build(database)
    connection = await database.connect("test damage")
    yield connection
    await connection.close()


async def test_where_nothing_is_damaged_nothing_is_found(
    connection: asyncpg.Connection,
) -> None:
    found = await verified(connection)
    assert found.is_exact
    assert names_of(found) == {}
    # By hand: of 20 creates of each, claims of two subjects for each of four accounts.
    proven = {rows.projection: (rows.as_of, rows.accounts, rows.keys) for rows in found.rows}
    assert proven == {
        "follow": (HEAD, 4, 16),
        "like": (HEAD, 4, 20),
        "post": (HEAD, 4, 16),
        "repost": (HEAD, 4, 20),
    }
    assert await connection.fetchval("SELECT count(*) FROM projector.finding") == 0


HEAL_A = f"projector heal {A}"
ROWS = {
    "row deleted": (
        f"DELETE FROM bsky.follow WHERE uri = '{uri(A, FOLLOW, 1)}'",
        {"row-deleted": HEAL_A, "counter-off": "projector heal --all-differences"},
        [("follow", uri(A, FOLLOW, 1), "row", "missing", [])],
    ),
    "row altered": (
        f"UPDATE bsky.post SET text = 'x', langs = '[\"xx\"]' WHERE uri = '{uri(A, POST, 0)}'",
        {"row-altered": HEAL_A},
        [("post", uri(A, POST, 0), "row", "altered", ["text", "langs"])],
    ),
    "row added": (
        f"INSERT INTO bsky.post (uri, cid, creator, text, \"createdAt\", \"indexedAt\")"
        f" VALUES ('{uri(A, POST, 9)}', 'c', '{A}', 'x', 't', 't')",
        {"row-added": HEAL_A, "counter-off": "projector heal --all-differences"},
        [("post", uri(A, POST, 9), "row", "extra", [])],
    ),
    "row of an account that the log does not know": (
        "INSERT INTO bsky.post (uri, cid, creator, text, \"createdAt\", \"indexedAt\")"
        " VALUES ('at://did:web:x.test/app.bsky.feed.post/1', 'c', 'did:web:x.test', 'x', '', '')",
        {
            "row-added": "projector heal did:web:x.test",
            "counter-off": "projector heal --all-differences",
        },
        [("post", "at://did:web:x.test/app.bsky.feed.post/1", "row", "extra", [])],
    ),
    "list of duplicates wrong": (
        f"UPDATE bsky.duplicate_record SET \"duplicateOf\" = 'x' WHERE uri = '{uri(A, LIKE, 2)}'",
        {"duplicates-list-wrong": HEAL_A},
        [("like", uri(A, LIKE, 2), "listed", "altered", ["duplicateOf"])],
    ),
    "shelf row lost": (
        f"DELETE FROM projector.duplicate_like WHERE uri = '{uri(A, LIKE, 2)}'",
        {"waiting-row-deleted": HEAL_A},
        [("like", uri(A, LIKE, 2), "waiting", "missing", [])],
    ),
    "revision lost": (
        f"DELETE FROM projector.version_post WHERE uri = '{uri(A, POST, 4)}'",
        {"revision-wrong": HEAL_A},
        [("post", uri(A, POST, 4), "rev", "missing", [])],
    ),
}  # fmt: skip


@pytest.mark.parametrize("damage", ROWS)
async def test_damaged_rows_are_found(connection: asyncpg.Connection, damage: str) -> None:
    statement, names, wrong = ROWS[damage]
    await connection.execute(statement)
    found = await verified(connection)
    assert names_of(found) == names
    assert [
        (d.projection, d.uri, d.part, d.kind, list(d.columns)) for d in found.row_differences
    ] == wrong
    kept = await connection.fetch("SELECT projection, uri, part, kind, columns, as_of, did"
                                  " FROM projector.finding")  # fmt: skip
    did = wrong[0][1].split("/")[2]
    assert [tuple(row) for row in kept] == [(*wrong[0], HEAD, did)]


async def test_findings_that_are_mended_go(connection: asyncpg.Connection) -> None:
    await connection.execute("UPDATE bsky.post SET text = text || 'x'")
    await verified(connection)
    found_at = await connection.fetch("SELECT uri, found_at FROM projector.finding ORDER BY uri")
    assert len(found_at) == 16
    await connection.execute("UPDATE bsky.post SET text = left(text, -1) WHERE creator <> $1", A)
    await verified(connection)
    left = await connection.fetch("SELECT uri, found_at FROM projector.finding ORDER BY uri")
    assert left == [row for row in found_at if row["uri"].startswith(f"at://{A}/")]
    assert len(left) == 4


async def test_a_counter_off_by_one_is_found(connection: asyncpg.Connection) -> None:
    await connection.execute(
        'UPDATE bsky.profile_agg SET "followersCount" = "followersCount" + 1 WHERE did = $1', B
    )
    found = await verified(connection)
    assert names_of(found) == {"counter-off": f"projector heal {B}"}
    # All four follow B by r1; r3 is a duplicate.
    (wrong,) = found.differences
    assert (wrong.key, wrong.stored, wrong.pending, wrong.counted) == (B, 5, 0, 4)


async def test_a_lost_outbox_row_is_found(
    connection: asyncpg.Connection, database: Database
) -> None:
    more = [made(200 + i, "create", POST, account=i, rkey=6) for i in range(3)]
    await append(database, more)
    await project(database, only=["post"])
    assert await connection.execute("DELETE FROM projector.outbox") == "DELETE 1"
    found = await verified(connection)
    assert names_of(found) == {"outbox-row-lost": "projector heal --all-differences"}
    assert {d.key for d in found.differences} == {A, B, C}
    assert [finding.keys for finding in found.findings] == [3]


@pytest.mark.parametrize("projection", ["follow", "post"])
async def test_a_checkpoint_moved_back_is_found_and_mended_by_running(
    connection: asyncpg.Connection, database: Database, projection: str
) -> None:
    await connection.execute(
        "UPDATE projector.checkpoint SET log_offset = 37 WHERE projection = $1", projection
    )
    found = await verified(connection)
    assert names_of(found) == {"checkpoint-moved-back": "projector run"}
    assert [finding.of for finding in found.findings] == [projection]
    await project(database)
    assert names_of(await verified(connection)) == {}


@pytest.mark.parametrize("projection", ["follow", "post"])
@pytest.mark.parametrize("then", [0, 30])
async def test_a_checkpoint_moved_forward_is_found(
    connection: asyncpg.Connection, database: Database, projection: str, then: int
) -> None:
    """At once, and after more events have been applied."""
    more = [made(200 + i, "create", c, account=4, rkey=i)
            for i in range(5) for c in COLLECTIONS]  # fmt: skip
    await append(database, more)
    await connection.execute(
        "UPDATE projector.checkpoint SET log_offset = $2 WHERE projection = $1",
        projection, HEAD + len(more),
    )  # fmt: skip
    await append(
        database,
        [made(300 + i, "create", POST, account=5, rkey=i) for i in range(then)],
    )
    await project(database)
    found = await verified(connection)
    lost = HEAD + 1 + COLLECTIONS.index({"follow": FOLLOW, "post": POST}[projection])
    replay = f"projector replay {projection} --from {lost}"
    assert names_of(found) == {"checkpoint-moved-forward": replay}


async def test_a_checkpoint_beyond_the_head_is_found(connection: asyncpg.Connection) -> None:
    await connection.execute(
        "UPDATE projector.checkpoint SET log_offset = 1000 WHERE projection = 'like'"
    )
    found = await verified(connection)
    assert names_of(found) == {"checkpoint-beyond-head": "projector rebuild like"}


@pytest.mark.parametrize("by", [-3, 4])
async def test_a_moved_head_is_found_and_mended(connection: asyncpg.Connection, by: int) -> None:
    await connection.execute("UPDATE projector.log_head SET head = head + $1", by)
    found = names_of(await verified(connection))
    assert found == {"head-moved": "projector verify --mend-head"}
    assert await mend_head(connection) == HEAD
    assert names_of(await verified(connection)) == {}


LOG = {
    "one event": (f"DELETE FROM projector.{FIRST} WHERE log_offset = 40", "event 40 is missing"),
    "some events": (
        f"DELETE FROM projector.{FIRST} WHERE log_offset BETWEEN 40 AND 42",
        "events 40 to 42 are missing",
    ),
    "the first event": (f"DELETE FROM projector.{FIRST} WHERE log_offset = 1", "event 1 is"),
    "the last event": (
        f"DELETE FROM projector.{FIRST} WHERE log_offset = {HEAD}",
        f"events {HEAD} to {HEAD}, the log's last, are gone",
    ),
}


@pytest.mark.parametrize("which", LOG)
async def test_deleted_events_are_found(connection: asyncpg.Connection, which: str) -> None:
    statement, text = LOG[which]
    assert (await connection.execute(statement)).startswith("DELETE ")
    found = await verified(connection)
    assert names_of(found) == {"event-missing": "restore the database from a backup"}
    assert text in found.log[0].text
    assert found.unproven is not None


async def test_an_event_that_is_there_twice_is_found(connection: asyncpg.Connection) -> None:
    await connection.execute(f"ALTER TABLE projector.{FIRST} DROP CONSTRAINT {FIRST}_range")
    await connection.execute(f"ALTER TABLE projector.event_log DETACH PARTITION projector.{FIRST}")
    await connection.execute(f"ALTER TABLE projector.{FIRST} DROP CONSTRAINT {FIRST}_pkey")
    await connection.execute(
        f"INSERT INTO projector.{FIRST} SELECT * FROM projector.{FIRST} WHERE log_offset = 9"
    )
    found = await verified(connection)
    assert set(names_of(found)) == {"event-twice", "partition-detached"}
    assert "offset 9 twice" in next(f.text for f in found.log if f.name == "event-twice")


async def test_a_dropped_partition_is_found(connection: asyncpg.Connection) -> None:
    await connection.execute(f"DROP TABLE projector.{FIRST}")
    found = await verified(connection)
    assert names_of(found) == {"partition-missing": "restore the database from a backup"}
    assert f"{FIRST} is gone, with its events 1 to {HEAD}" in found.log[0].text
    assert found.unproven is not None


async def test_a_partition_dropped_that_was_made_ahead_is_found(
    connection: asyncpg.Connection,
) -> None:
    await append_partition(connection)
    await connection.execute(f"DROP TABLE projector.{SECOND}")
    found = await verified(connection)
    assert set(names_of(found)) == {"partition-missing"}
    assert "had no events yet" in found.log[0].text


async def append_partition(connection: asyncpg.Connection) -> None:
    await connection.execute(
        f"CREATE TABLE projector.{SECOND} PARTITION OF projector.event_log"
        " FOR VALUES FROM (100001) TO (200001)"
    )
    await connection.execute(
        "INSERT INTO projector.log_partition VALUES ($1, 100001, 200001)", SECOND
    )


async def test_a_detached_partition_is_found_and_mended(connection: asyncpg.Connection) -> None:
    await connection.execute(f"ALTER TABLE projector.event_log DETACH PARTITION projector.{FIRST}")
    found = await verified(connection)
    mend = names_of(found)["partition-detached"]
    await connection.execute(mend.removeprefix("psql -c '").removesuffix("'"))
    assert names_of(await verified(connection)) == {}


async def test_source_counts_that_are_off_are_found(connection: asyncpg.Connection) -> None:
    await connection.execute("UPDATE projector.source_cursor SET events = events - 1")
    assert set(names_of(await verified(connection, log=False))) == {"source-counts-off"}
