"""All projections of the golden sets: rebuilt, proven from the log, damaged, found and healed."""

from __future__ import annotations

import msgspec
import pytest

from events.history import WholeLog
from projector.database import Database
from projector.declare import Projection
from projector.heal import heal
from projector.mend import Mender
from projector.prove import prove_accounts
from projector.prove_all import WholeProof
from tests.golden.test_golden import golden_events
from tests.support import engine
from tests.support.histories import tid
from tests.support.rebuilding import execute, left_behind, rebuild, value
from tests.support.records import event_of
from tests.support.samples import sample

PROJECTIONS = [d for d in engine.ALL if isinstance(d, Projection)]
NAMES = engine.table_names(engine.ALL)
TAKEN_DOWN = """UPDATE bsky.record SET "takedownRef" = 'TAKEDOWN' WHERE uri LIKE '%a'"""
POST = 'SELECT min("postUri") FROM bsky.post_embed_image'


@pytest.fixture
async def golden(database: Database) -> Database:
    """The largest of the sets, applied."""
    await engine.create(database, engine.ALL)
    await engine.append(database, golden_events("whole"))
    await engine.project(database, declarations=engine.ALL)
    return database


async def differing(database: Database) -> list[tuple[str, str, tuple[str, ...]]]:
    """What a pass over all rows finds: projection, kind, columns."""
    connection = await database.connect("test proof")
    try:
        proof = await WholeProof(PROJECTIONS, "bsky").run(connection)
    finally:
        await connection.close()
    return [(d.projection, d.kind, d.columns) for v in proof.verdicts for d in v.differences]


@pytest.mark.both_servers
async def test_a_rebuild_of_everything_changes_nothing(golden: Database) -> None:
    await execute(golden, TAKEN_DOWN)
    before = await engine.tables_of(golden, NAMES)
    outcome = await rebuild(golden, declarations=engine.ALL)
    assert outcome.comparison.is_equal
    assert set(outcome.compared) == {d.name for d in engine.ALL}
    assert await engine.tables_of(golden, NAMES) == before
    assert await value(golden, 'SELECT count("takedownRef") FROM bsky.record') > 100
    assert await left_behind(golden) == []


async def test_damage_of_child_tables_is_found_and_healed(golden: Database) -> None:
    assert await differing(golden) == []
    before = await engine.tables_of(golden, NAMES)
    await execute(
        golden,
        f'DELETE FROM bsky.post_embed_image WHERE "postUri" = ({POST})',
        "UPDATE bsky.post_embed_external SET title = 'x' WHERE \"postUri\" = ("
        'SELECT min("postUri") FROM bsky.post_embed_external)',
        "DELETE FROM bsky.quote WHERE uri = (SELECT max(uri) FROM bsky.quote)",
        "UPDATE bsky.feed_item SET type = 'x' WHERE uri = (SELECT max(uri) FROM bsky.feed_item)",
        "DELETE FROM bsky.record WHERE uri = (SELECT max(uri) FROM bsky.record)",
    )
    found = await differing(golden)
    assert sorted(found) == [
        ("feed_item", "altered", ("type",)),
        ("post", "altered", ("post_embed_external",)),
        ("post", "altered", ("post_embed_image",)),
        ("post", "altered", ("quote",)),
        ("record", "missing", ()),
    ]
    dry = await rebuild(golden, declarations=engine.ALL, dry_run=True)
    assert (dry.comparison.rows, dry.comparison.counts) == (5, 0)
    connection = await golden.connect("test heal")
    rows = await connection.fetch("SELECT DISTINCT did FROM bsky.record")
    dids = [row["did"] for row in rows]
    async for _ in heal(connection, Mender(engine.ALL, "bsky"), dids, dry_run=False):
        pass
    log = WholeLog()
    verdicts = await prove_accounts(connection, log, PROJECTIONS, "bsky", dids)
    await log.close()
    await connection.close()
    assert [v.differences for v in verdicts if v.differences] == []
    await engine.project(golden, declarations=engine.ALL)
    assert await engine.tables_of(golden, NAMES) == before
    assert await engine.differences(golden, engine.ALL) == []


async def test_child_rows_without_a_row_are_found_and_healed(golden: Database) -> None:
    before = await engine.tables_of(golden, NAMES)
    quoting = await value(golden, "SELECT min(uri) FROM bsky.quote")
    showing = await value(golden, 'SELECT max("postUri") FROM bsky.post_embed_image')
    stranger = "at://did:plc:zzzzzzzzzzzzzzzzzzzzzzzz/app.bsky.feed.post/x"
    await execute(
        golden,
        f"DELETE FROM bsky.post WHERE uri IN ('{quoting}', '{showing}')",
        f"INSERT INTO bsky.post_embed_record VALUES ('{stranger}', 'at://x', 'c')",
    )
    assert sorted((p, kind) for p, kind, _ in await differing(golden)) == [
        ("post", "altered"), ("post", "altered"), ("post", "extra")]  # fmt: skip
    connection = await golden.connect("test heal")
    dids = [uri.split("/")[2] for uri in (quoting, showing, stranger)]
    patches = [p async for p in heal(connection, Mender(engine.ALL, "bsky"), dids, dry_run=False)]
    await connection.close()
    assert sum(len(patch.changes) for patch in patches) == 3
    await engine.project(golden, declarations=engine.ALL)
    assert await engine.tables_of(golden, NAMES) == before
    assert await differing(golden) == []
    assert await engine.differences(golden, engine.ALL) == []


async def test_a_record_without_a_row_is_rebuilt_as_one(database: Database) -> None:
    """Nothing is noted of it: a repeat of such a create makes no row either."""
    await engine.create(database, engine.ALL)
    profile = event_of(sample("app.bsky.actor.profile"))
    other = msgspec.structs.replace(profile, rkey="other", rev=tid(5))
    await engine.append(database, [other])
    await engine.project(database, declarations=engine.ALL)
    revs = "SELECT rev FROM projector.version_profile WHERE uri = $1"
    assert await value(database, revs, other.uri) is None
    outcome = await rebuild(database, declarations=engine.ALL)
    assert outcome.comparison.is_equal
    assert await value(database, revs, other.uri) is None
    assert await value(database, "SELECT count(*) FROM bsky.profile") == 0
    assert await value(database, "SELECT count(*) FROM bsky.record") == 1
