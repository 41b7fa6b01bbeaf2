"""`replay`: a range of the log over again puts right what is wrong, and writes nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from events.event import Event
from events.sources.generate import GenerateSource
from projector.database import Database
from projector.heal import HEAL_SETTINGS
from projector.mend import Mender
from projector.replay import Replay
from tests.support.cli import Place
from tests.support.engine import DECLARATIONS, append, differences, project
from tests.support.harness import PROJECTIONS, reset
from tests.support.histories import DIDS, FOLLOW, LIKE, made
from tests.support.watch import Watch

EVENTS = 3_000
ANN, BOB = DIDS[:2]

REPLAYED = {
    "projection", "from", "to", "events", "accounts", "changed", "changes", "counters", "letters",
}  # fmt: skip
WRITTEN = """
SELECT edits FROM projector.checkpoint UNION ALL SELECT n_tup_ins + n_tup_upd + n_tup_del
FROM pg_stat_user_tables WHERE schemaname = 'bsky' OR relname = 'dead_letter' ORDER BY 1
"""
COLLECTED = "SELECT pg_stat_force_next_flush()"


async def generated(spec: str = f"events={EVENTS},seed=5,accounts=60,invalid=0.01") -> list[Event]:
    source = GenerateSource.parse(spec, 1_000)
    return [event async for batch in source.batches(None) for event in batch.events]


async def replayed(place: Place, *words: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = (await place.ok("replay", *words, "--json", env=env)).json
    assert found.keys() == REPLAYED
    return found


@pytest.mark.both_servers
async def test_rows_lost_in_a_range_come_back_and_what_is_right_is_not_written(
    place: Place, watch: Watch, database: Database
) -> None:
    await append(database, await generated())
    await project(database)
    before = await watch.fingerprints()
    assert before["like"][0] > 500
    await watch.rows(COLLECTED)
    written = await watch.rows(WRITTEN)
    found = await replayed(place, "like", "--from", "1")
    assert (found["to"], found["changed"]) == (EVENTS, 0)
    assert found["events"] > before["like"][0]
    await watch.rows(COLLECTED)
    assert await watch.rows(WRITTEN) == written

    # The rows of a range are lost, and among them one was altered.
    range_of = (
        "SELECT 'at://' || did || '/' || collection || '/' || rkey FROM projector.event_log"
        " WHERE log_offset BETWEEN 1000 AND 2000"
    )
    lost = await watch.rows(f'DELETE FROM bsky."like" WHERE uri IN ({range_of}) RETURNING uri')
    assert len(lost) > 100
    told = await place.ok("replay", "like", "--from", "1000", "--to", "2000")
    assert told.text.count("+ like") > 0
    assert "offsets 1,000 to 2,000: " in told.text
    await project(database)
    assert await watch.fingerprints() == before
    assert await differences(database) == []
    assert (await replayed(place, "like", "--from", "1000"))["changed"] == 0


TABLES = ("post", "follow", "repost", "like")
SKIP = "UPDATE projector.checkpoint SET log_offset = $2 WHERE projection = $1"


async def replay_here(database: Database, name: str, span: range) -> None:
    """Replays in this process."""
    (projection,) = (p for p in PROJECTIONS if p.name == name)
    connection = await database.connect("test replay", **HEAL_SETTINGS)
    try:
        mender = Mender(DECLARATIONS, "bsky", [name], owned=False)
        _ = [patch async for patch in Replay(mender, projection, span).run(connection)]
    finally:
        await connection.close()


async def undamaged(watch: Watch, database: Database, events: list[Event]) -> dict[str, Any]:
    """What the tables hold after these events where all goes well; leaves everything empty."""
    await append(database, events)
    await project(database)
    fingerprints = await watch.fingerprints()
    connection = await database.connect("test reset")
    await reset(connection)
    await connection.close()
    return fingerprints


async def with_a_range_skipped(database: Database, watch: Watch, events: list[Event]) -> None:
    """All is applied but a range in the middle, past which every checkpoint was set by hand."""
    await append(database, events[:1000])
    await project(database)
    await append(database, events[1000:])
    for name in TABLES:
        await watch.execute(SKIP, name, 2000)
    await project(database)


async def test_a_range_that_was_never_applied_is_made_up_for(
    place: Place, watch: Watch, database: Database
) -> None:
    events = await generated()
    expected = await undamaged(watch, database, events)
    await with_a_range_skipped(database, watch, events)
    assert (await watch.fingerprints())["dead_letter"][0] < expected["dead_letter"][0]
    found = await replayed(place, "like", "--from", "1001", "--to", "2000")
    assert len(found["changes"]) > 100
    for name in TABLES[:3]:
        await replay_here(database, name, range(1001, 2001))
    await project(database)
    assert await watch.fingerprints() == expected
    assert await differences(database) == []


@pytest.mark.parametrize(
    "point",
    [
        "replay-letters-written", "replay-letters-committed", "patch-written", "patch-committed",
    ],
)  # fmt: skip
async def test_killed_at_a_boundary_it_goes_on_when_run_again(
    place: Place, watch: Watch, database: Database, point: str
) -> None:
    events = await generated("events=2200,seed=6,accounts=40,invalid=0.05")
    expected = await undamaged(watch, database, events)
    await with_a_range_skipped(database, watch, events)
    words = ("replay", "like", "--from", "1001")
    killed = await place.run(*words, env={"PROJECTOR_CRASH_AT": point})
    assert killed.code == -9
    for name in TABLES:
        await replay_here(database, name, range(1001, 2001))
    await project(database)
    assert await watch.fingerprints() == expected
    assert await differences(database) == []


async def test_a_record_deleted_after_the_range_does_not_come_back(
    place: Place, watch: Watch, database: Database
) -> None:
    bob = DIDS[1]
    await append(
        database,
        [
            made(1, "create"),
            made(2, "create", account=1),
            made(3, "delete"),
            made(4, "create", FOLLOW, account=1),
            made(5, "deleted", account=2),
        ],
    )
    await project(database)
    await watch.execute('DELETE FROM bsky."like"')
    found = await replayed(place, "like", "--from", "1", "--to", "2")
    assert (found["events"], found["accounts"], found["changed"]) == (2, 2, 1)
    (change,) = found["changes"]
    assert (change["kind"], change["uri"]) == ("missing", f"at://{bob}/{LIKE}/r0")
    assert await watch.rows('SELECT creator FROM bsky."like"') == [(bob,)]
    # Of the range, and of this projection, only: the removal, but nobody's follow.
    found = await replayed(place, "like", "--from", "4")
    assert (found["events"], found["accounts"], found["changed"]) == (1, 1, 0)


async def test_counts_that_the_range_should_have_moved_are_put_right(
    place: Place, watch: Watch, database: Database
) -> None:
    likes = [made(n, "create", account=n) for n in range(1, 4)]
    gone = [made(4, "delete", account=1), made(5, "deleted", account=2)]
    await append(database, [*likes, *gone])
    await project(database, only=["like"], window_events=1)
    # The deltas of the last two are lost: the delete's, and the removal's.
    await watch.execute(
        "DELETE FROM projector.outbox WHERE id IN (SELECT id FROM projector.outbox"
        " ORDER BY id DESC LIMIT 2)"
    )
    await project(database)
    post = f"at://{DIDS[0]}/app.bsky.feed.post/r0"
    assert await watch.rows('SELECT uri, "likeCount" FROM bsky.post_agg') == [(post, 3)]
    assert (await replayed(place, "like", "--from", "6"))["changed"] == 0
    found = await replayed(place, "like", "--from", "5")
    assert (found["changed"], found["changes"]) == (1, [])
    (counter,) = found["counters"]
    assert (counter["key"], counter["stored"], counter["true"]) == (post, 3, 1)
    assert await watch.rows('SELECT uri, "likeCount" FROM bsky.post_agg') == [(post, 1)]
    assert await differences(database) == []


async def test_what_cannot_be_replayed_is_said(place: Place) -> None:
    for words, complaint in (
        (("profile_agg", "--from", "1"), "profile_agg is an aggregate"),
        (("like", "--from", "9", "--to", "3"), "--to 3 (offset 3) is before --from 9"),
        (("like", "--from", "yesterday"), "'yesterday' is neither an offset nor a moment"),
        (("nobody", "--from", "1"), "no projection is named nobody"),
    ):
        ended = await place.run("replay", *words)
        assert ended.code == 2
        assert complaint in ended.complaint
