"""Windows save commits and change nothing else; a window is there whole, once, or not at all."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from events.event import Event
from projector.daemon import Daemon
from projector.database import APPLY_SETTINGS, Database
from projector.errors import CheckpointMoved
from projector.settings import Settings
from tests.compat.stage import (
    CHECKPOINT,
    REFERENCE,
    ReferenceStage,
    append,
    reading,
    tables_of,
)
from tests.compat.test_golden import assert_golden, distinct
from tests.compat.test_scenarios import SCENARIOS, Steps, events_of
from tests.golden.test_golden import golden_events
from tests.peer.schema import names
from tests.support import engine
from tests.support.harness import BROKEN, Fragile, fragile

WITHOUT_SQL = {
    name: steps for name, steps in SCENARIOS.items() if not any("sql" in step for step in steps)
}
# Gates, a refused event, promotion, notifications: what a window done twice would show.
BUSY = ("threadgate", "likeUpdateCollision", "likeDup", "postUpdateWithEngagement")


def test_a_golden_set_in_large_windows(reference: ReferenceStage, runner: asyncio.Runner) -> None:
    events = distinct(golden_events("posts"))

    async def run() -> None:
        await reference.begin()
        await append(reference.admin, events)
        await reference.catch_up(500)
        await assert_golden(reference, "posts", events)

    runner.run(run())


@pytest.mark.parametrize("name", WITHOUT_SQL)
def test_a_scenario_in_one_window_ends_the_same(
    reference: ReferenceStage, runner: asyncio.Runner, name: str
) -> None:
    steps = WITHOUT_SQL[name]

    async def run() -> None:
        whole = await ended(reference, steps, 1000)
        assert whole == await ended(reference, steps, 3)
        assert whole[1] == [n for n, step in enumerate(steps, 1) if not step["accepted"]]

    runner.run(run())


async def ended(stage: ReferenceStage, steps: Steps, window: int) -> tuple[object, list[int]]:
    """What a scenario comes to in windows of so many events, and what was refused."""
    await stage.begin()
    await append(stage.admin, events_of(steps))
    await stage.catch_up(window)
    return await stage.tables(), await stage.letters()


@pytest.mark.parametrize("survive", [False, True], ids=["before", "after"])
def test_a_connection_lost_at_any_statement(
    reference: ReferenceStage, runner: asyncio.Runner, survive: bool
) -> None:
    """It breaks at a statement, before the server has it, or after; then the window is there
    whole, or is done again."""
    steps = [step for name in BUSY for step in SCENARIOS[name]]

    async def run() -> None:
        expected = await ended(reference, steps, 1000)
        broken, statement = True, 0
        while broken:
            broken = await one(statement)
            assert (await reference.tables(), await reference.letters()) == expected
            statement += 23
        assert statement > 200

    async def one(statement: int) -> bool:
        await reference.begin()
        await append(reference.admin, events_of(steps))
        connection = await delicate(reference)
        connection.statements_left, connection.survive = statement, survive
        try:
            await reference.catch_up(1000, connection)
            return False
        except BROKEN:
            await reference.read_checkpoint()
            await reference.catch_up(1000)
            return True
        finally:
            connection.terminate()

    runner.run(run())


async def delicate(stage: ReferenceStage) -> Fragile:
    """A connection as the projector's own, that can be made to break."""
    connection = await fragile(stage.database, **APPLY_SETTINGS, search_path="bsky")

    async def kill(pid: int) -> None:
        assert await stage.admin.fetchval("SELECT pg_terminate_backend($1, 10000)", pid)

    connection.killer = kill
    return connection


def test_of_two_owners_one_applies(reference: ReferenceStage, runner: asyncio.Runner) -> None:
    async def run() -> None:
        steps = SCENARIOS["notifs"]
        expected = await ended(reference, steps, 1000)
        rival = reference.new_projector(1000)
        rival.reader.head = len(steps)
        with pytest.raises(CheckpointMoved):
            await rival.step(reference.connection)
        assert (await reference.tables(), await reference.letters()) == expected

    runner.run(run())


async def test_two_daemons_make_the_same_tables(database: Database) -> None:
    """One applies, the other stands by, in the middle of events that come."""
    events: list[Event] = distinct(golden_events("graph"))[:600]
    await engine.create(database, [REFERENCE])
    await engine.append(database, events[:300])
    settings = Settings(window_events_max=50, poll_seconds=0.05)
    stops = [asyncio.Event(), asyncio.Event()]
    daemons = [Daemon(database, [REFERENCE], settings) for _ in stops]
    running = [asyncio.create_task(d.run(s)) for d, s in zip(daemons, stops, strict=True)]
    await engine.append(database, events[300:])
    connection = await database.connect("test")
    try:
        async with asyncio.timeout(60):
            while await checkpoint(connection) < len(events):
                await asyncio.sleep(0.05)
        for stop in stops:
            stop.set()
        await asyncio.wait_for(asyncio.gather(*running), 30)
        twice = await tables_of(connection, reading(await names(connection)))
    finally:
        await connection.close()
    follows = {e.uri for e in events if e.collection == "app.bsky.graph.follow"}
    assert {row["recordUri"] for row in twice["notification"]} & follows
    told = [(row["recordUri"], row["did"], row["reason"]) for row in twice["notification"]]
    assert len(told) == len(set(told))


async def checkpoint(connection: asyncpg.Connection) -> int:
    """Where the reference is."""
    return int(await connection.fetchval(CHECKPOINT, REFERENCE.name))
