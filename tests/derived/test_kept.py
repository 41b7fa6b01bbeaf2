"""Derived tables beside all else: damaged, found and healed; rebuilt; added to what runs."""

from __future__ import annotations

import msgspec
import pytest

from projections.notification import notifications
from projector import derived, schema
from projector.database import Database
from projector.heal import heal_derived
from projector.verifying import Verifier
from tests.golden.test_golden import golden_events
from tests.integration.test_collections import History, filled
from tests.support import engine
from tests.support.rebuilding import execute, left_behind, rebuild, value
from tests.support.samples import sample

PROFILE, VERIFICATION = "app.bsky.actor.profile", "app.bsky.graph.verification"

WITHOUT = [d for d in engine.ALL if d is not notifications]
FIRST = 'SELECT min("recordUri") FROM bsky.notification WHERE reason = '
DAMAGE = (
    f"DELETE FROM bsky.notification WHERE \"recordUri\" = ({FIRST} 'follow')",
    f"UPDATE bsky.notification SET did = 'did:web:x' WHERE \"recordUri\" = ({FIRST} 'like')",
    'INSERT INTO bsky.notification (did, "recordUri", "recordCid", author, reason, "sortAt")'
    " VALUES ('did:web:x', 'at://did:web:y/a/b', 'c', 'did:web:y', 'like', '2026')",
)


@pytest.fixture
async def golden(database: Database) -> Database:
    await engine.create(database, engine.ALL)
    await engine.append(database, golden_events("whole"))
    await engine.project(database, declarations=engine.ALL)
    return database


async def notified_in(database: Database) -> list[dict[str, object]]:
    return (await engine.tables_of(database, ["notification"]))["notification"]


@pytest.mark.both_servers
async def test_damage_is_found_named_and_healed(golden: Database) -> None:
    before = await notified_in(golden)
    await execute(golden, *DAMAGE)
    connection = await golden.connect("test verify")
    looking = await golden.connect("test looks")
    try:
        verifier = Verifier(connection, engine.ALL, "bsky", lambda *_: None)
        await verifier.counters()
        (finding,) = verifier.found.findings
        assert (finding.name, finding.of, finding.keys) == ("derived-rows-wrong", "notification", 3)
        assert finding.mend == "projector heal --all-differences"
        tables = [notifications]
        seen = await heal_derived(connection, looking, tables, "bsky", dry_run=True)
        assert sorted((d.stored, d.counted) for d in seen) == [(0, 1), (1, 0), (1, 1)]
        assert await notified_in(golden) != before
        assert await heal_derived(connection, looking, tables, "bsky", dry_run=False) == seen
    finally:
        await looking.close()
        await connection.close()
    assert await notified_in(golden) == before
    assert await engine.differences(golden, engine.ALL) == []


@pytest.mark.both_servers
async def test_a_rebuild_shows_the_damage_and_mends_it(golden: Database) -> None:
    before = await notified_in(golden)
    await execute(golden, *DAMAGE)
    dry = await rebuild(golden, "notification", declarations=engine.ALL, dry_run=True)
    assert (dry.comparison.rows, dry.comparison.counts) == (0, 3)
    found = {(d.counter, d.live, d.rebuilt) for d in dry.comparison.count_differences}
    assert found == {(derived.ROWS, 0, 1), (derived.ROWS, 1, 0), (derived.ROWS, 1, 1)}
    outcome = await rebuild(golden, "like", declarations=engine.ALL)
    assert outcome.names == ["like", "notification", "post_agg"]
    assert await notified_in(golden) == before
    assert await left_behind(golden) == []
    assert await engine.differences(golden, engine.ALL) == []


async def test_added_to_what_runs_it_is_built_of_what_is_there(database: Database) -> None:
    events = golden_events("whole")
    await engine.create(database, WITHOUT)
    await engine.append(database, events[:3000])
    await engine.project(database, declarations=WITHOUT)
    connection = await database.connect("test adds")
    said = await schema.create(connection, engine.ALL, "bsky")
    await connection.close()
    assert said == ["nothing for notification: what it counts is there already; run: projector "
                    "rebuild notification"]  # fmt: skip
    await rebuild(database, "notification", declarations=engine.ALL)
    await engine.append(database, events[3000:])
    await engine.project(database, declarations=engine.ALL)
    assert await engine.differences(database, engine.ALL) == []
    assert await value(database, "SELECT count(*) FROM bsky.notification") > 3000


async def test_an_account_goes_with_all_that_it_told(golden: Database) -> None:
    did = await value(golden, "SELECT author FROM bsky.notification GROUP BY 1 ORDER BY count(*) "
                              "DESC, 1 LIMIT 1")  # fmt: skip
    last = golden_events("whole")[-1]
    gone = msgspec.structs.replace(
        last, did=did, kind="account", action="deleted", collection=None, rkey=None, rev=None,
        cid=None, record=b"{}", source_cursor="999999",
    )  # fmt: skip
    await engine.append(golden, [gone])
    await engine.project(golden, declarations=engine.ALL)
    assert await value(golden, "SELECT count(*) FROM bsky.notification WHERE author = $1", did) == 0
    assert await engine.differences(golden, engine.ALL) == []


async def test_verifications_and_joins_come_and_go(database: Database) -> None:
    history = History()
    for collection in (VERIFICATION, PROFILE):
        history.add(collection, "create")
    told = (await filled(database, history.events, 100))["notification"]
    pack = sample(PROFILE)["joinedViaStarterPack"]["uri"]
    assert sorted((row["reason"], row["did"], row["reasonSubject"]) for row in told) == [
        ("starterpack-joined", pack.split("/")[2], pack),
        ("verified", sample(VERIFICATION)["subject"], None),
    ]
    later = History()
    later.events = list(history.events)
    for collection in (VERIFICATION, PROFILE):
        later.add(collection, "update", "aaaaaa")
    await engine.append(database, later.events[2:])
    await engine.project(database, declarations=engine.ALL)
    assert all(row["recordCid"].endswith("aaaaaa") for row in await notified_in(database))
    assert len(await notified_in(database)) == 2
    for collection in (VERIFICATION, PROFILE):
        later.add(collection, "delete")
    await engine.append(database, later.events[4:])
    await engine.project(database, declarations=engine.ALL)
    assert await notified_in(database) == []
    assert await engine.differences(database, engine.ALL) == []
