"""A rebuild makes, from the log alone, the very tables that the live path made."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from projections.follow import follows
from projections.post import posts
from projector import schema, shadow
from projector.daemon import Daemon
from projector.database import Database
from projector.declare import Aggregate, Count
from projector.errors import SchemaMismatch, UsageError
from projector.rebuild import Rebuild
from projector.rebuilding import Options
from projector.settings import Settings
from tests.extend.test_new_projection import block_agg, blocks
from tests.golden.test_golden import golden_events, lines_of
from tests.invariants.test_invariant_10 import some_of_all
from tests.support import engine
from tests.support.harness import Stage, until
from tests.support.histories import budget, deliveries
from tests.support.model import Model
from tests.support.rebuilding import (
    EVERYTHING,
    SETTINGS,
    as_of,
    execute,
    left_behind,
    rebuild,
    value,
)
from tests.support.watch import Watch

UNKNOWN = """
SELECT coalesce(array_agg(relname::text), '{}') FROM pg_class AS c
WHERE relnamespace = 'bsky'::regnamespace AND relkind = 'r' AND pg_relation_size(c.oid) > 0
    AND NOT EXISTS (SELECT FROM pg_statistic WHERE starelid = c.oid)
    AND relname <> 'duplicate_record'
"""
"""The tables with rows that the planner knows nothing of. The list of duplicates, which all share,
is not swapped: it is autovacuum's."""
windows = st.lists(st.sampled_from((1, 2, 3, 5, 8, 13, 50)), max_size=40)


@budget(25)
@given(events=deliveries(), sizes=windows, window=st.sampled_from((1, 3, 7, 1000)))
def test_a_rebuild_equals_live_tables_and_the_model(
    stage: Stage, runner: asyncio.Runner, events: list[Event], sizes: list[int], window: int
) -> None:
    async def run() -> None:
        await stage.begin(events)
        await stage.finish(sizes)
        before = await stage.tables()
        settings = Settings(rebuild_share=1.0, window_events_max=window)
        outcome = await rebuild(stage.database, settings=settings)
        assert outcome.swapped
        assert (outcome.comparison.rows, outcome.comparison.counts) == (0, 0)
        assert sorted(outcome.compared) == sorted(d.name for d in engine.DECLARATIONS)
        assert await stage.tables() == before
        assert {n: before[n] for n in before} == Model(stage.log).tables()
        assert await stage.letters() == Model(stage.log).letters
        await stage.assert_counts_are_exact()
        assert await left_behind(stage.database) == []

    runner.run(run())


@pytest.mark.both_servers
async def test_real_events_are_rebuilt_to_the_same_bytes(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, golden_events("whole"))
    await engine.project(database, window_events=500)
    async with Watch(database.url) as watch:
        before = await watch.fingerprints()
        outcome = await rebuild(database)
        assert outcome.comparison.is_equal
        assert outcome.events > 0
        assert await watch.fingerprints() == before
    assert await engine.differences(database) == []
    assert await left_behind(database) == []
    # What is now live the planner knows.
    assert await value(database, UNKNOWN) == []


@pytest.mark.both_servers
async def test_differences_are_named_with_their_reason_and_put_right(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 201)))
    await engine.project(database)
    async with Watch(database.url) as watch:
        right = await watch.fingerprints()
        gone = await watch.value("SELECT min(uri) FROM bsky.follow")
        altered = await watch.value("SELECT min(uri) FROM bsky.post")
        counted = await watch.value("SELECT min(did) FROM bsky.profile_agg")
        await execute(
            database,
            f"DELETE FROM bsky.follow WHERE uri = '{gone}'",
            f"UPDATE bsky.post SET text = 'by hand' WHERE uri = '{altered}'",
            "INSERT INTO bsky.like (uri, cid, creator, subject, \"subjectCid\", \"createdAt\","
            " \"indexedAt\") VALUES ('at://did:plc:nobody/app.bsky.feed.like/1', 'c',"
            " 'did:plc:nobody', 'at://x', 'c', '2026', '2026')",
            f"UPDATE bsky.profile_agg SET \"postsCount\" = 77 WHERE did = '{counted}'",
        )  # fmt: skip
        dry = await rebuild(database, dry_run=True)
        assert not dry.swapped
        assert await left_behind(database) == []
        found = {
            (x.difference.projection, x.difference.kind, x.difference.uri): x
            for x in dry.comparison.row_differences
        }
        assert found.keys() == {
            ("follow", "missing", gone),
            ("post", "altered", altered),
            ("like", "extra", "at://did:plc:nobody/app.bsky.feed.like/1"),
        }
        assert found[("post", "altered", altered)].difference.columns == ("text",)
        reasons = {key[0]: x.reason for key, x in found.items()}
        assert "deleted by hand" in reasons["follow"]
        assert "altered by hand" in reasons["post"]
        assert "no event says so" in reasons["like"]
        keys = {(x.counter, x.key) for x in dry.comparison.count_differences}
        assert ("postsCount", counted) in keys
        done = await rebuild(database)
        assert done.comparison.rows == 3
        assert await watch.fingerprints() == right
    assert await engine.differences(database) == []


async def test_live_projections_and_readers_go_on_all_the_while(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 2001)))
    stop, over = asyncio.Event(), asyncio.Event()
    daemon = asyncio.create_task(Daemon(database, engine.DECLARATIONS, Settings()).run(stop))
    looks = 0

    async def write() -> None:
        at = 2000
        while not over.is_set():
            await engine.append(database, some_of_all(range(at + 1, at + 101)))
            at += 100
            await asyncio.sleep(0.05)

    async def read() -> None:
        nonlocal looks
        connection = await database.connect("test reader")
        tables = ("post", "follow", "like", "repost", "profile_agg", "post_agg")
        before = dict.fromkeys(tables, 0)
        while not over.is_set():
            # Nobody is removed in this history: what is there stays there.
            for table in tables:
                rows = await connection.fetchval(f'SELECT count(*) FROM bsky."{table}"')
                assert rows >= before[table], table
                before[table] = rows
            assert await engine.differences(database) == []
            looks += 1
        await connection.close()

    tasks = [asyncio.create_task(write()), asyncio.create_task(read())]
    for _ in range(3):
        outcome = await rebuild(database)
        assert outcome.swapped
        assert outcome.comparison.is_equal
        assert not any(task.done() for task in (*tasks, daemon))
    over.set()
    await asyncio.gather(*tasks)
    assert looks > 5

    async def caught_up() -> bool:
        return bool(
            await value(
                database,
                "SELECT min(log_offset) = (SELECT head FROM projector.log_head)"
                " AND NOT EXISTS (SELECT FROM projector.outbox) FROM projector.checkpoint"
                " WHERE projection IN ('post', 'follow', 'like', 'repost')",
            )
        )

    await until(caught_up, seconds=60)
    stop.set()
    await daemon
    assert (await rebuild(database, dry_run=True)).comparison.is_equal
    assert await left_behind(database) == []


@pytest.mark.both_servers
async def test_old_tables_are_kept_and_can_be_put_back(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 301)))
    await engine.project(database)
    async with Watch(database.url) as watch:
        await execute(database, "UPDATE bsky.post SET text = 'old'")
        assert (await rebuild(database, "post", keep_old=True)).swapped
        assert not await watch.value("SELECT count(*) FROM bsky.post WHERE text = 'old'")
        await engine.append(database, some_of_all(range(301, 401)))
        await engine.project(database)
        connection = await database.connect("test roll back")
        await shadow.put_back(connection, posts)
        with pytest.raises(UsageError, match="no old tables of post are kept"):
            await shadow.put_back(connection, posts)
        await connection.close()
        outcome = await rebuild(database, "post", keep_old=True)
        assert outcome.swapped
        old = await watch.value("SELECT count(*) FROM bsky.post WHERE text = 'old'")
        assert old == outcome.comparison.rows > 0
        assert await watch.value("SELECT count(*) FROM bsky.post WHERE text <> 'old'") > 0
    assert await engine.differences(database) == []
    await rebuild(database)
    assert await left_behind(database) == []


async def test_who_may_read_still_may_and_indexes_of_others_are_made(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 101)))
    await engine.project(database)
    await execute(
        database,
        "GRANT SELECT ON bsky.like TO PUBLIC",
        "CREATE INDEX by_cid ON bsky.like (cid)",
        "CREATE VIEW public.likers AS SELECT creator FROM bsky.like",
    )
    with pytest.raises(UsageError, match="likers reads"):
        await rebuild(database, "like")
    await execute(database, "DROP VIEW public.likers")
    await rebuild(database, "like")
    acl = "SELECT relacl::text FROM pg_class WHERE oid = 'bsky.like'::regclass"
    assert "=r/" in await value(database, acl)
    assert await value(database, "SELECT to_regclass('bsky.by_cid') IS NOT NULL")
    shape = "SELECT count(*) FROM pg_indexes WHERE schemaname = 'bsky' AND tablename = 'like'"
    assert await value(database, shape) == 5


async def test_counters_that_others_keep_are_taken_over(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 101)))
    await engine.project(database)
    await execute(
        database,
        "INSERT INTO bsky.post_agg (uri, \"bookmarkCount\") VALUES ('at://x/y/z', 3)",
        'UPDATE bsky.post_agg SET "bookmarkCount" = 2 WHERE uri = (SELECT min(uri) FROM'
        " bsky.post_agg WHERE \"likeCount\" > 0)",
    )  # fmt: skip
    await rebuild(database, "post_agg")
    assert await value(database, 'SELECT sum("bookmarkCount") FROM bsky.post_agg') == 5
    assert await engine.differences(database) == []


async def test_a_new_version_is_refused_until_it_is_rebuilt(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 101)))
    await engine.project(database)
    newer = replace(
        follows, version=2, row=lambda e, r: (*follows.row(e, r)[:-1], "2000-01-01T00:00:00.000Z")
    )
    declarations = [newer if d is follows else d for d in engine.DECLARATIONS]
    with pytest.raises(SchemaMismatch, match="projector rebuild follow"):
        await engine.project(database, declarations=declarations)
    outcome = await rebuild(database, "follow", declarations=declarations)
    assert {x.reason for x in outcome.comparison.row_differences} == {
        "version 1 was another declaration than 2"
    }
    rows = {x.difference.uri for x in outcome.comparison.row_differences}
    assert len(rows) == 25  # Each follow, be it in the table or waiting on the shelf.
    await engine.append(database, some_of_all(range(101, 201)))
    await engine.project(database, declarations=declarations)
    stamps = 'SELECT array_agg(DISTINCT "indexedAt") FROM bsky.follow'
    assert await value(database, stamps) == ["2000-01-01T00:00:00.000Z"]
    assert await engine.differences(database) == []


async def test_an_aggregate_is_added_to_a_running_system(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 301)))
    stop = asyncio.Event()
    # This daemon knows nothing of it, and feeds it all the same.
    daemon = asyncio.create_task(Daemon(database, engine.DECLARATIONS, Settings()).run(stop))
    fans = Aggregate(
        name="fans", version=1, table="fans", key="did",
        counters={"fans": Count(follows, by="subjectDid")},
        ddl="CREATE TABLE IF NOT EXISTS {schema}.fans"
            " (did varchar COLLATE \"C\" PRIMARY KEY, fans bigint NOT NULL DEFAULT 0);",
    )  # fmt: skip
    declarations = [*engine.DECLARATIONS, fans]

    async def applied() -> bool:
        return bool(await value(database, "SELECT count(*) FROM bsky.follow"))

    await until(applied)
    connection = await database.connect("test init")
    done = await schema.create(connection, declarations, "bsky")
    assert done == [
        "nothing for fans: what it counts is there already; run: projector rebuild fans"
    ]
    with pytest.raises(SchemaMismatch, match="fans"):
        await schema.check(connection, declarations)
    await rebuild(database, "fans", declarations=declarations)
    await schema.check(connection, declarations)
    await connection.close()
    await engine.append(database, some_of_all(range(301, 601)))
    own = asyncio.create_task(Daemon(database, declarations, Settings(), only=["fans"]).run(stop))
    counts = (
        "SELECT (SELECT jsonb_object_agg(did, fans) FROM bsky.fans) ="
        ' (SELECT jsonb_object_agg(s, n) FROM (SELECT "subjectDid" AS s, count(*) AS n'
        " FROM bsky.follow GROUP BY 1) AS c)"
        " AND (SELECT log_offset FROM projector.checkpoint WHERE projection = 'follow') = 600"
    )

    async def counted() -> bool:
        return bool(await value(database, counts))

    await until(counted)
    stop.set()
    await asyncio.gather(daemon, own)


async def test_a_new_projection_is_built_up_to_the_head(database: Database) -> None:
    await engine.create(database, [])
    await engine.append(database, golden_events("graph"))
    declarations = [blocks, block_agg]
    await engine.create(database, declarations)
    outcome = await rebuild(database, declarations=declarations)
    assert outcome.swapped
    head = await value(database, "SELECT head FROM projector.log_head")
    at = "SELECT min(log_offset) FROM projector.checkpoint"
    assert await value(database, at) == head
    golden = [json.loads(line) for line in lines_of("graph", "actor_block")]
    tables = await engine.tables_of(database, ["actor_block"])
    assert tables["actor_block"] == sorted(golden, key=lambda row: row["uri"])
    # The daemon goes on from there.
    await engine.project(database, declarations=declarations)
    assert await left_behind(database) == []


async def test_what_is_left_of_an_unfinished_rebuild_can_be_removed(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 101)))
    await engine.project(database)
    await rebuild(database, keep_old=True)
    connection = await database.connect("test begins")
    await shadow.create(connection, posts, shadow.home_of(posts), 100)
    await connection.close()
    assert await left_behind(database) != []
    await Rebuild(
        database, engine.DECLARATIONS, SETTINGS, names=EVERYTHING, options=Options(),
        show=lambda *_: None,
    ).abandon()  # fmt: skip
    assert await left_behind(database) == []
    assert await engine.differences(database) == []


@pytest.mark.both_servers
async def test_tables_as_they_were(database: Database) -> None:
    await engine.create(database)
    await engine.append(database, some_of_all(range(1, 401)))
    head, half = 400, 200
    model = Model(
        msgspec.structs.replace(event, log_offset=offset)
        for offset, event in enumerate(some_of_all(range(1, half + 1)), 1)
    ).tables()
    assert await as_of(database, half, "earlier") > 0
    for name, rows in model.items():
        found = await value(
            database, f"SELECT coalesce(json_agg(t)::text, '[]') FROM earlier.\"{name}\" AS t"
        )
        in_order = sorted(
            json.loads(found), key=lambda r: r.get("postUri") or r.get("uri") or r["did"]
        )
        assert in_order == rows, name
    with pytest.raises(UsageError, match="exists already"):
        await as_of(database, half, "earlier")
    with pytest.raises(UsageError, match="not in the log"):
        await as_of(database, head + 1, "later")
    assert await left_behind(database) == []


async def test_rows_that_no_index_takes_are_dead_letters_as_before(database: Database) -> None:
    await engine.create(database)
    (event, *_) = [e for e in some_of_all(range(1, 9)) if e.collection == "app.bsky.graph.follow"]
    huge = msgspec.structs.replace(
        event, rkey="x" * 400, did="did:web:" + "abcdefgh" * 200 + ".example"
    )
    await engine.append(database, [*some_of_all(range(1, 9)), huge])
    await engine.project(database)
    async with Watch(database.url) as watch:
        before = await watch.fingerprints()
        assert (await rebuild(database)).swapped
        assert await watch.fingerprints() == before
        # Dropped letters are not known: then it is built window by window.
        await execute(database, "DELETE FROM projector.dead_letter")
        assert (await rebuild(database)).swapped
        assert await watch.fingerprints() == before
