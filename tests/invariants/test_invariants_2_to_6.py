"""Invariants 2 to 6: one owner, a pure function of the log, order, repeats, deltas from rows."""

from __future__ import annotations

import ast
import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import msgspec
import pytest

import projections
from events.event import Event
from projector.apply import TableWriter
from projector.committing import Step
from projector.daemon import Daemon
from projector.database import Database
from projector.errors import CheckpointMoved
from projector.settings import Settings
from projector.statements import counters_of, live, statements_of
from tests.golden.test_golden import golden_events
from tests.support import engine
from tests.support.harness import EMPTIED, PROJECTIONS, Hand, Stage, TableHand, everything_of
from tests.support.histories import FOLLOW, POST, made
from tests.support.model import Model

CROWDED = [
    made(1, "create"),
    made(2, "create", rkey=1),
    made(3, "create", account=1),
    made(4, "update", subject=1),
    made(5, "create", rkey=2),
    made(6, "invalid", rkey=3),
    made(7, "deleted", account=1),
    made(8, "delete"),
    made(9, "create", account=1, subject=1),
]
"""Likes with all that a window may hold: duplicates, a move, a promotion, a removal, a letter."""


def hand_of(stage: Stage, name: str) -> TableHand:
    return next(h for h in stage.hands if isinstance(h, TableHand) and h.name == name)


async def outbox(stage: Stage) -> list[tuple[str, list[str], list[int]]]:
    rows = await stage.admin.fetch("SELECT counter, keys, deltas FROM projector.outbox ORDER BY id")
    return [tuple(row) for row in rows]


async def checkpoint(stage: Stage, name: str) -> int:
    sql = "SELECT log_offset FROM projector.checkpoint WHERE projection = $1"
    offset: int = await stage.admin.fetchval(sql, name)
    return offset


@pytest.mark.parametrize("survive", [False, True])
def test_invariant_2_effect_and_checkpoint_commit_together(
    stage: Stage, runner: asyncio.Runner, survive: bool
) -> None:
    """Whatever statement the connection breaks at, all of a window is done or nothing."""

    async def run() -> None:
        outcomes = []
        for statement in range(100):
            await stage.begin(CROWDED)
            hand = hand_of(stage, "like")
            assert await hand.step(4)
            hand.ahead = None  # The next window is to hold all the rest.
            before = (await stage.everything(), await outbox(stage), await stage.letters())
            crashed = await hand.crash(100, statement, survive=survive)
            after = (await stage.everything(), await outbox(stage), await stage.letters())
            done = await checkpoint(stage, "like") == len(CROWDED)
            assert done == (after != before)
            await stage.assert_counts_are_exact()
            await stage.finish()
            assert await stage.tables() == Model(stage.log).tables()
            outcomes.append(done)
            if not crashed:
                break
        # Every statement was tried; only the last, COMMIT, may be done though nobody was told.
        assert outcomes[-1]
        assert outcomes[:-1] == [False] * (len(outcomes) - 2) + [survive]
        assert len(outcomes) > 10

    runner.run(run())


def test_invariant_2_of_two_who_believe_they_own_it_one_rolls_back(
    stage: Stage, runner: asyncio.Runner
) -> None:
    async def run() -> None:
        await stage.begin(CROWDED)
        hands: list[Hand] = [next(h for h in side if h.name == "like")
                             for side in (stage.hands, stage.rivals)]  # fmt: skip
        for hand in hands:
            await hand.connected()
            hand.checkpoint = 0
        results = await asyncio.gather(*(h.step(100) for h in hands), return_exceptions=True)
        assert sorted(map(repr, results)) == ["CheckpointMoved('like')", "True"]
        await stage.assert_counts_are_exact()
        await stage.finish()
        assert await stage.tables() == Model(stage.log).tables()

    runner.run(run())


def test_invariant_2_a_checkpoint_of_another_version_does_not_move(
    stage: Stage, runner: asyncio.Runner
) -> None:
    async def run() -> None:
        await stage.begin(CROWDED)
        hand = hand_of(stage, "like")
        window = stage.window(0, 9, hand.projection)
        assert window is not None
        newer = replace(hand.projection, version=hand.projection.version + 1)
        writer = TableWriter(newer, live(newer, "bsky"))
        with pytest.raises(CheckpointMoved):
            await writer.apply(await hand.connected(), Step(0, 9, 9), hand.folder.fold(window))
        assert (await stage.tables())["like"] == []

    runner.run(run())


async def test_invariant_2_two_daemons_that_both_believe_they_own_everything(
    database: Database, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    await engine.create(database)
    await engine.append(database, golden_events("redelivered")[:600])
    settings = Settings(window_events_max=5, window_events_min=5)
    daemons = [Daemon(database, engine.DECLARATIONS, settings) for _ in range(2)]

    async def mine(_name: str) -> bool:
        return True

    for daemon in daemons:
        monkeypatch.setattr(daemon.keeper, "take", mine)
    caplog.set_level("WARNING", "projector.daemon")
    async with asyncio.timeout(60):
        await asyncio.gather(*(d.run(asyncio.Event(), until_caught_up=True) for d in daemons))
    assert "another daemon applied the window" in caplog.text
    assert await engine.differences(database) == []
    together = await engine.tables_of(database)
    await _again(database)
    await engine.project(database, window_events=5)
    assert await engine.tables_of(database) == together


async def _again(database: Database) -> None:
    """Empties the tables and puts the checkpoints to the log's beginning."""
    connection = await database.connect("test reset")
    kept = ("projector.event_log", "projector.source_cursor")
    for table in EMPTIED:
        if table not in kept:
            await connection.execute(f"DELETE FROM {table}")
    await connection.execute("UPDATE projector.checkpoint SET log_offset = 0")
    await connection.close()


async def test_invariant_3_a_rebuild_from_offset_1_gives_the_same_bytes(
    database: Database,
) -> None:
    """Live, in small windows, as the events come; and from the log alone, in large ones."""
    await engine.create(database)
    events = golden_events("redelivered")[:1500]
    for i in range(0, 1500, 500):
        await engine.append(database, events[i : i + 500])
        await engine.project(database, window_events=3 + i)
    connection = await database.connect("test read")
    live = await everything_of(connection)
    assert all(live[f'bsky."{name}"'] for name in ("post", "follow", "like", "repost"))
    await _again(database)
    assert not any((await everything_of(connection)).values())
    await engine.project(database, window_events=100_000)
    assert await everything_of(connection) == live
    await _again(database)
    # And with hardly any memory for what is read ahead.
    settings = Settings(window_events_max=400, reader_bytes_max=2000)
    daemon = Daemon(database, engine.DECLARATIONS, settings)
    await asyncio.wait_for(daemon.run(asyncio.Event(), until_caught_up=True), 60)
    assert await everything_of(connection) == live
    await connection.close()


IMPURE = {"time", "datetime", "random", "secrets", "uuid", "os", "socket", "asyncio", "asyncpg",
          "urllib", "http", "locale", "subprocess", "threading", "websockets", "redis"}  # fmt: skip


def test_invariant_3_projections_and_fold_read_no_clock_and_no_network() -> None:
    folder = Path(projections.__file__).parent
    files = [*folder.glob("*.py"), folder.parent / "projector" / "fold.py"]
    assert len(files) > 5
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not IMPURE & {name.split(".")[0] for name in names}, file.name


def test_invariant_3_statements_and_ddl_ask_no_clock() -> None:
    texts = [d.ddl for d in engine.DECLARATIONS]
    for projection in PROJECTIONS:
        made_of = statements_of(
            projection, live(projection, "bsky"), counters_of(projection, engine.DECLARATIONS)
        )
        texts += [sql for sql in map(made_of.__getattribute__, made_of.__slots__)
                  if isinstance(sql, str)]  # fmt: skip
    assert len(texts) > 40
    for text in texts:
        for impure in ("now()", "timestamp", "random", "nextval", "gen_random", "session_user"):
            assert impure not in text.lower()


@pytest.mark.parametrize("window", [1, 7, 64, 1000])
def test_invariant_4_events_of_a_repo_keep_their_order(
    stage: Stage, runner: asyncio.Runner, window: int
) -> None:
    """Two hundred revisions of one post, and a like that comes and goes: the last one counts."""
    events = [made(1, "create", POST), *(made(n, "update", POST, content=n % 2, subject=n // 2 % 2)
                                         for n in range(2, 202))]  # fmt: skip
    events += [made(300 + n, ("create", "delete")[n % 2]) for n in range(41)]

    async def run() -> None:
        await stage.begin(events)
        await stage.finish([window] * 2000)
        tables = await stage.tables()
        assert [row["indexedAt"] for row in tables["post"]] == [events[200].indexed_at]
        assert [row["indexedAt"] for row in tables["like"]] == [events[-1].indexed_at]
        assert tables == Model(stage.log).tables()

    runner.run(run())


async def test_invariant_5_applying_twice_equals_applying_once(database: Database) -> None:
    await engine.create(database)
    events = golden_events("graph")[:1000]
    await engine.append(database, events)
    await engine.project(database)
    connection = await database.connect("test read")
    once = await everything_of(connection)
    await engine.append(database, events)
    await engine.append(database, events[300:])
    await engine.project(database, window_events=130)
    assert await everything_of(connection) == once
    await connection.close()


BORN, GONE, REBORN = made(1, "create"), made(2, "delete"), made(3, "create")
NO_REV = msgspec.structs.replace(made(3, "update", content=1), rev=None)


@pytest.mark.parametrize(
    ("events", "sizes"),
    [
        ([BORN, GONE, BORN, REBORN], [2, 2]),
        ([BORN, GONE, BORN, REBORN], [1, 3]),
        ([BORN, GONE, BORN, REBORN], [4]),
        ([BORN, GONE, REBORN, made(4, "delete"), GONE, REBORN, made(6, "create")], [4, 3]),
        ([BORN, made(2, "update"), made(2, "update"), NO_REV], [2, 2]),
    ],
)
def test_invariant_5_a_repeat_hides_nothing_that_follows_it(
    stage: Stage, runner: asyncio.Runner, events: list[Event], sizes: list[int]
) -> None:
    """A repeat of an earlier create of a record, in one window with its making anew."""

    async def run() -> None:
        await stage.begin(events)
        for hand in stage.hands:
            for size in sizes:
                await hand.step(size)
        await stage.finish()
        assert await stage.tables() == Model(stage.log).tables()

    runner.run(run())


QUIET = {
    "a delete of what never was": [made(9, "delete", rkey=4)],
    "a create again": [made(1, "create")],
    "the same create with a higher rev": [made(9, "create")],
    "a duplicate": [made(9, "create", rkey=1)],
    "a duplicate that comes and goes": [made(9, "create", rkey=1), made(10, "delete", rkey=1)],
    "an invalid record": [made(9, "invalid", rkey=2)],
    "an invalid update": [made(9, "invalid update")],
    "an update in place": [made(9, "update", content=1)],
    "a removal of an account without rows": [made(9, "deleted", account=3)],
    "there and back": [made(9, "update", subject=1), made(10, "update")],
}


@pytest.mark.parametrize("name", QUIET)
@pytest.mark.parametrize("window", [1, 5])
def test_invariant_6_a_claim_that_changes_no_count_makes_no_delta(
    stage: Stage, runner: asyncio.Runner, name: str, window: int
) -> None:
    async def run() -> None:
        await stage.begin([made(1, "create")])
        await stage.finish()
        await stage.append(QUIET[name])
        hand = hand_of(stage, "like")
        while await hand.step(window):
            pass
        moved = await outbox(stage)
        if window == 1 and name == "there and back":
            assert [deltas for _, _, deltas in moved] == [[-1, 1], [1, -1]]
        else:
            assert moved == []

    runner.run(run())


def test_invariant_6_deltas_are_what_the_rows_did(stage: Stage, runner: asyncio.Runner) -> None:
    """In one window: a move, a new one that loses, a deletion that promotes, a removal."""
    first, second = (f"at://did:plc:{who * 24}/{POST}/r{i}" for i, who in enumerate("ab"))

    async def run() -> None:
        await stage.begin(
            [
                made(1, "create"), made(2, "create", rkey=1),
                *(made(3 + i, "create", account=1 + i) for i in range(3)),
            ]
        )  # fmt: skip
        hand = hand_of(stage, "like")
        await hand.step(100)
        assert await outbox(stage) == [("likeCount", [first], [4])]
        await stage.append(
            [
                made(20, "delete"), made(21, "update", account=1, subject=1),
                made(22, "create", account=2, rkey=3), made(23, "deleted", account=3),
                made(24, "create", FOLLOW),
            ]
        )  # fmt: skip
        await hand.step(100)
        counts = dict.fromkeys((first, second), 0)
        for _, keys, deltas in (await outbox(stage))[1:]:
            for key, delta in zip(keys, deltas, strict=True):
                counts[key] += delta
        assert counts == {first: -2, second: 1}
        await stage.assert_counts_are_exact()

    runner.run(run())


async def test_invariant_6_counters_move_with_rows_whoever_wrote_them(database: Database) -> None:
    """A row put in by hand before the event comes: no delta is claimed for it."""
    await engine.create(database)
    connection: asyncpg.Connection = await database.connect("test plant")
    event = made(1, "create", FOLLOW)
    row = Model([event]).tables()["follow"][0]
    del row["sortAt"]
    columns = ", ".join(f'"{column}"' for column in row)
    values = ", ".join(f"${i}" for i in range(1, len(row) + 1))
    await connection.execute(
        f"INSERT INTO bsky.follow ({columns}) VALUES ({values})", *row.values()
    )
    await engine.append(database, [event])
    await engine.project(database)
    assert (await engine.tables_of(database))["profile_agg"] == []
    await connection.close()
