"""`heal`: shows what is wrong with an account, and puts it right, with all counters concerned."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from events.event import Event
from projections.profile_agg import profile_agg
from projector.aggregate import Merger
from projector.database import Database
from projector.errors import Corruption
from projector.heal import HEAL_SETTINGS, heal
from projector.mend import Mender
from projector.statements import live
from tests.support.cli import Place
from tests.support.engine import DECLARATIONS, append, differences, project
from tests.support.histories import CIDS, DIDS, FOLLOW, LIKE, POST, made
from tests.support.watch import Watch

ANN, BOB, CY, DAN = DIDS[:4]
POST_0 = f"at://{DIDS[0]}/{POST}/r0"

# Ann likes Ann's post three times over (two wait), Bob once; Bob follows Ann, who follows Bob.
HISTORY = [
    made(1, "create", POST),
    made(2, "create"),
    made(3, "create", rkey=1),
    made(4, "create", rkey=2),
    made(5, "create", account=1),
    made(6, "create", FOLLOW, account=1),
    made(7, "create", FOLLOW, subject=1),
    made(8, "update", POST, content=1),
    made(9, "create", POST, account=1, rkey=1),
    made(10, "delete", POST, account=1, rkey=1),
]
LIKE_0, LIKE_1, LIKE_2 = (f"at://{ANN}/{LIKE}/r{n}" for n in (0, 1, 2))
BOBS_LIKE = f"at://{BOB}/{LIKE}/r0"
BOBS_FOLLOW = f"at://{BOB}/{FOLLOW}/r0"

CHANGE = {"projection", "did", "uri", "part", "kind", "columns", "log_offset", "has", "must"}
COUNTER = {"aggregate", "counter", "key", "stored", "pending", "true"}
PATCH = {"accounts", "events", "as_of", "changes", "counters", "letters"}


async def applied(database: Database, history: list[Event] = HISTORY) -> None:
    await append(database, history)
    await project(database)


async def healed(place: Place, *words: str, code: int = 0) -> dict[str, Any]:
    """What `heal` prints, checked for its keys."""
    ended = await place.run("heal", *words, "--json")
    assert ended.code == code, ended.err
    found: dict[str, Any] = ended.json
    assert found.keys() == {"dry_run", "differences", "accounts", "derived"}
    for patch in found["accounts"]:
        assert patch.keys() == PATCH
        assert all(change.keys() == CHANGE for change in patch["changes"])
        assert all(counter.keys() == COUNTER for counter in patch["counters"])
    return found


async def heal_here(database: Database, *dids: str, dry_run: bool = False) -> list[dict[str, Any]]:
    """Heals in this process; the patches as JSON has them."""
    connection = await database.connect("test heal", **HEAL_SETTINGS)
    try:
        mender = Mender(DECLARATIONS, "bsky")
        patches = [p async for p in heal(connection, mender, dids, dry_run=dry_run)]
    finally:
        await connection.close()
    found: list[dict[str, Any]] = msgspec.to_builtins(patches)
    return found


def keys_of(patch: dict[str, Any]) -> set[tuple[Any, ...]]:
    return {(c["part"], c["kind"], c["uri"], c["log_offset"]) for c in patch["changes"]}


@pytest.mark.both_servers
async def test_an_account_is_shown_and_put_right(
    place: Place, watch: Watch, database: Database
) -> None:
    await applied(database)
    before = await watch.fingerprints()
    # Ann's like that has the row goes; her second, which waits, says something else; the revision
    # of her post is lost; a follow of which no event tells appears; Bob counts a like too many.
    await watch.execute('DELETE FROM bsky."like" WHERE uri = $1', LIKE_0)
    await watch.execute(
        "UPDATE projector.duplicate_like SET cid = 'bafyodd' WHERE uri = $1", LIKE_1
    )
    await watch.execute("DELETE FROM bsky.duplicate_record WHERE uri = $1", LIKE_2)
    await watch.execute("DELETE FROM projector.version_post WHERE uri = $1", POST_0)
    ghost = f"at://{ANN}/{FOLLOW}/ghost"
    await watch.execute(
        'INSERT INTO bsky.follow (uri, cid, creator, "subjectDid", "createdAt", "indexedAt")'
        " VALUES ($1, 'x', $2, $3, 'y', 'z')",
        ghost, ANN, CY,
    )  # fmt: skip
    await watch.execute('UPDATE bsky.post_agg SET "likeCount" = 5 WHERE uri = $1', POST_0)
    damaged = await watch.fingerprints()

    shown = await healed(place, ANN, "--dry-run", code=1)
    assert await watch.fingerprints() == damaged
    assert (shown["dry_run"], shown["differences"]) == (True, 6)
    (patch,) = shown["accounts"]
    assert (patch["accounts"], patch["events"]) == ([ANN], 6)
    assert patch["as_of"] == {"follow": 10, "like": 10, "post": 10, "repost": 10}
    assert keys_of(patch) == {
        ("row", "missing", LIKE_0, 2),
        ("waiting", "altered", LIKE_1, 3),
        ("listed", "missing", LIKE_2, 4),
        ("rev", "missing", POST_0, 8),
        ("row", "extra", ghost, None),
    }
    (altered,) = (c for c in patch["changes"] if c["kind"] == "altered")
    assert (altered["has"], altered["must"]) == ({"cid": "bafyodd"}, {"cid": CIDS[0]})
    # Two likes: Ann's first and Bob's. The ghost was never counted, and is not.
    (counter,) = patch["counters"]
    assert counter == {
        "aggregate": "post_agg", "counter": "likeCount", "key": POST_0,
        "stored": 5, "pending": 0, "true": 2,
    }  # fmt: skip
    told = await place.run("heal", ANN, "--dry-run")
    assert told.code == 1
    assert f"+ like       row      {LIKE_0}  (event 2)" in told.text
    assert f"- follow     row      {ghost}  (no event says so)" in told.text
    assert f"~ like       waiting  {LIKE_1}  cid bafyodd → {CIDS[0]}  (event 3)" in told.text
    assert "stored 5, pending 0, true 2" in told.text

    done = await healed(place, ANN)
    assert done["accounts"][0]["changes"] == patch["changes"]
    assert done["accounts"][0]["counters"] == patch["counters"]
    await project(database)
    assert await watch.fingerprints() == before
    assert await differences(database) == []
    assert "nothing to change" in (await place.ok("heal", ANN)).text


async def test_a_row_under_a_wrong_account_goes_home(watch: Watch, database: Database) -> None:
    await applied(database)
    before = await watch.fingerprints()
    sql = "UPDATE bsky.follow SET creator = $2 WHERE uri = $1"
    for account, together in ((CY, [CY, BOB]), (BOB, [BOB])):
        # Cy has a row too many, Bob has one too few: either one's name mends both.
        await watch.execute(sql, BOBS_FOLLOW, CY)
        (patch,) = await heal_here(database, account)
        assert patch["accounts"] == together
        (change,) = patch["changes"]
        assert (change["did"], change["uri"], change["kind"]) == (BOB, BOBS_FOLLOW, "altered")
        assert (change["has"], change["must"]) == ({"creator": CY}, {"creator": BOB})
        await project(database)
        assert await watch.fingerprints() == before
        assert await differences(database) == []


async def test_a_stopped_aggregate_is_mended(watch: Watch, database: Database) -> None:
    await applied(database)
    await watch.execute("DELETE FROM bsky.profile_agg WHERE did = $1", ANN)
    await append(database, [made(11, "delete", FOLLOW, account=1)])
    with pytest.raises(Corruption, match=ANN):
        await project(database)
    (patch,) = await heal_here(database, ANN)
    assert patch["changes"] == []
    # Bob's follow is gone; Ann follows one, and has one post.
    assert [tuple(c.values())[1:] for c in patch["counters"]] == [
        ("followersCount", ANN, 0, -1, 0),
        ("followsCount", ANN, 0, 0, 1),
        ("postsCount", ANN, 0, 0, 1),
    ]
    await project(database)
    assert await differences(database) == []
    assert await watch.rows("SELECT * FROM bsky.profile_agg ORDER BY did") == [
        (ANN, 0, 1, 1),
        (BOB, 1, 0, 0),
    ]


async def test_a_counter_is_lifted_that_would_fall_below_zero_on_its_way(
    watch: Watch, database: Database
) -> None:
    await applied(database, [made(1, "create", FOLLOW, account=1)])
    later = [made(2, "delete", FOLLOW, account=1), made(3, "create", FOLLOW, account=1, rkey=1)]
    await append(database, later)
    await project(database, only=["follow"], window_events=1)
    followers = 'SELECT "followersCount" FROM bsky.profile_agg WHERE did = $1'
    pending = "SELECT deltas[1] FROM projector.outbox WHERE counter = 'followersCount' ORDER BY id"
    before = await watch.fingerprints()
    # Stored 1, and on the way -1 for the first follow and +1 for the second, whose row is lost.
    await watch.execute("DELETE FROM bsky.follow")
    assert await watch.rows(pending) == [(-1,), (1,)]
    (patch,) = await heal_here(database, ANN)
    (counter,) = patch["counters"]
    assert (counter["stored"], counter["pending"], counter["true"]) == (1, 0, 0)
    assert await watch.value(followers, ANN) == 1
    assert await watch.rows(pending) == [(-1,), (1,), (-1,)]
    connection = await database.connect("test merge")
    merger = Merger(profile_agg, live(profile_agg, "bsky"), outbox_rows_max=1)
    assert [(await merger.merge(connection)).rows for _ in range(6)] == [1, 1, 1, 1, 1, 0]
    await connection.close()
    assert await watch.value(followers, ANN) is None

    await heal_here(database, BOB)
    await project(database)
    assert await differences(database) == []
    assert await watch.value(followers, ANN) == 1
    assert (await watch.fingerprints())["follow"] == before["follow"]


async def test_what_postgres_refuses_becomes_a_dead_letter(
    watch: Watch, database: Database
) -> None:
    # Valid, but no index of Postgres takes a subject of so many random characters.
    noise = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz234567", k=8000))
    like = made(11, "create", rkey=9, account=2)
    record = (like.record or b"").replace(b"post/r0", b"post/r0#/" + noise.encode())
    again = made(12, "create", rkey=8, account=2)
    await applied(database, [*HISTORY, msgspec.structs.replace(like, record=record), again])
    before = await watch.fingerprints()
    assert before["dead_letter"][0] == 1
    await watch.execute("DELETE FROM projector.dead_letter")
    await watch.execute('DELETE FROM bsky."like" WHERE uri = $1', again.uri)
    (patch,) = await heal_here(database, CY)
    assert keys_of(patch) == {("row", "missing", again.uri, 12)}
    assert [(r["projection"], r["log_offset"]) for r in patch["letters"]] == [("like", 11)]
    (patch,) = await heal_here(database, CY)
    assert (patch["changes"], patch["counters"], patch["letters"]) == ([], [], [])
    # The letter's text names a place on the disk, so it is not the same text again.
    letters = "SELECT projection, log_offset, stage, reason, attempts FROM projector.dead_letter"
    assert await watch.rows(letters) == [("like", 11, "apply", "refused", 1)]
    after = await watch.fingerprints()
    assert after | {"dead_letter": None} == before | {"dead_letter": None}


async def test_all_that_an_audit_found_is_mended(
    place: Place, watch: Watch, database: Database
) -> None:
    await applied(database)
    before = await watch.fingerprints()
    await watch.execute('DELETE FROM bsky."like" WHERE creator = $1', BOB)
    for did, uri in ((BOB, BOBS_LIKE), (DAN, "at://gone")):
        await watch.execute(
            "INSERT INTO projector.finding (projection, did, uri, part, kind, columns, as_of)"
            " VALUES ('like', $1, $2, 'row', 'missing', '{}', 10)",
            did, uri,
        )  # fmt: skip
    # Keys that are nobody's, and somebody's of whom nothing else is wrong.
    await watch.execute("INSERT INTO bsky.post_agg (uri, \"repostCount\") VALUES ('odd', 3)")
    await watch.execute('UPDATE bsky.profile_agg SET "postsCount" = 0')
    shown = await healed(place, "--all-differences", "--dry-run", code=1)
    assert await watch.count("SELECT count(*) FROM projector.finding") == 2
    done = await healed(place, "--all-differences")
    assert shown["differences"] == done["differences"] == 3
    assert await watch.count("SELECT count(*) FROM projector.finding") == 0
    assert await watch.fingerprints() == before


async def test_what_is_not_understood_is_said(place: Place) -> None:
    for words, complaint in (
        ((), "say which: DIDs, or --all-differences"),
        (("alice",), "'alice' is no DID; write did:plc:… or did:web:…"),
    ):
        ended = await place.run("heal", *words)
        assert (ended.code, ended.complaint) == (2, complaint)
    assert (await healed(place, DAN))["accounts"][0]["events"] == 0


@pytest.mark.parametrize("point", ["patch-written", "patch-committed", "patch-written:2"])
async def test_killed_at_a_boundary_it_is_done_whole_or_not_at_all(
    place: Place, watch: Watch, database: Database, point: str
) -> None:
    await applied(database)
    before = await watch.fingerprints()
    await watch.execute('DELETE FROM bsky."like"')
    await watch.execute("DELETE FROM bsky.follow")
    damaged = await watch.fingerprints()
    killed = await place.run("heal", ANN, BOB, env={"PROJECTOR_CRASH_AT": point})
    assert killed.code == -9
    looked = await heal_here(database, ANN, BOB, dry_run=True)
    left = [patch["accounts"][0] for patch in looked if patch["changes"]]
    assert left == {"patch-written": [ANN, BOB]}.get(point, [BOB])
    assert (await watch.fingerprints() == damaged) is (len(left) == 2)
    await heal_here(database, ANN, BOB)
    await project(database)
    assert await watch.fingerprints() == before
    assert await differences(database) == []
