"""What verify names mends the damage: the command is run, and then nothing is found any more."""

from __future__ import annotations

import pytest

from projector.database import Database
from tests.support.cli import Place
from tests.support.engine import append, project
from tests.support.harness import everything_of
from tests.support.histories import COLLECTIONS, FOLLOW, LIKE, POST, made
from tests.verify.world import HISTORY, A, B, build, names_of, uri, verified

HEAD = len(HISTORY)
ALTER = f"UPDATE bsky.post SET text = 'x' WHERE uri = '{uri(B, POST, 2)}'"

DAMAGE = {
    "row deleted": f"DELETE FROM bsky.follow WHERE uri = '{uri(A, FOLLOW, 1)}'",
    "row altered": ALTER,
    "row added": "INSERT INTO bsky.post (uri, cid, creator, text, \"createdAt\", \"indexedAt\")"
    f" VALUES ('{uri(A, POST, 9)}', 'c', '{A}', 'x', 't', 't')",
    "list wrong": f"DELETE FROM bsky.duplicate_record WHERE uri = '{uri(A, LIKE, 2)}'",
    "shelf row lost": f"DELETE FROM projector.duplicate_like WHERE uri = '{uri(A, LIKE, 2)}'",
    "revision lost": f"DELETE FROM projector.version_post WHERE uri = '{uri(A, POST, 4)}'",
    "counter off": f"UPDATE bsky.profile_agg SET \"postsCount\" = 0 WHERE did = '{A}'",
    "counters off": 'UPDATE bsky.profile_agg SET "postsCount" = "postsCount" + 1',
    "checkpoint back": "UPDATE projector.checkpoint SET log_offset = 37"
    " WHERE projection = 'follow'",
    "head moved": "UPDATE projector.log_head SET head = head + 5",
    "several": "DELETE FROM bsky.follow; " + ALTER,
}  # fmt: skip


async def mended(place: Place, database: Database) -> None:
    """Runs what verify names, until it names nothing; at most twice."""
    connection = await database.connect("test mending")
    try:
        for _ in range(2):
            mends = sorted(set(names_of(await verified(connection)).values()))
            for mend in mends:
                program, *words = mend.split()
                assert program == "projector"
                if words == ["run"]:
                    words.append("--until-caught-up")
                await place.ok(*words)
        assert names_of(await verified(connection)) == {}
        assert await connection.fetchval("SELECT count(*) FROM projector.finding") == 0
    finally:
        await connection.close()


@pytest.mark.parametrize("damage", DAMAGE)
async def test_the_command_named_mends_the_damage(
    place: Place, database: Database, damage: str
) -> None:
    await build(database)
    connection = await database.connect("test damage")
    before = await everything_of(connection)
    await connection.execute(DAMAGE[damage])
    await mended(place, database)
    await project(database)
    assert await everything_of(connection) == before
    await connection.close()


async def test_a_lost_outbox_row_is_mended(place: Place, database: Database) -> None:
    await build(database)
    more = [made(200 + i, "create", POST, account=i, rkey=6) for i in range(3)]
    await append(database, more)
    await project(database, only=["post"])
    connection = await database.connect("test damage")
    await connection.execute("DELETE FROM projector.outbox")
    await mended(place, database)
    await connection.close()


async def test_a_range_that_was_skipped_is_mended(place: Place, database: Database) -> None:
    await build(database)
    more = [made(200 + i, "create", c, account=4, rkey=i)
            for i in range(5) for c in COLLECTIONS]  # fmt: skip
    await append(database, more)
    connection = await database.connect("test damage")
    await connection.execute(
        "UPDATE projector.checkpoint SET log_offset = $1 WHERE projection IN ('post', 'like')",
        HEAD + len(more),
    )
    await project(database)
    await mended(place, database)
    await connection.close()
