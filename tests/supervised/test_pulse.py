"""A loop is stuck when it has something to do and nothing is heard of it; else it is not."""

from __future__ import annotations

import asyncio

import pytest

from projector.daemon import Daemon
from projector.database import Database, retrying
from projector.fold import Window
from projector.pulse import PULSE, Pulse
from projector.reader import LogReader
from projector.settings import Settings
from tests.support.clock import Clock
from tests.support.engine import DECLARATIONS, append, create
from tests.support.harness import until
from tests.support.histories import made

TABLES = ["follow", "like", "post", "repost"]


def test_who_has_nothing_to_do_may_be_silent_for_ever() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    with pulse.watched("like", lambda: False, "apply like"):
        for _ in range(3):
            clock.now += 10_000
            assert pulse.stuck(60) == []


def test_who_has_something_to_do_must_be_heard_of() -> None:
    clock = Clock()
    pulse = Pulse(clock)
    busy = False
    with pulse.watched("like", lambda: busy, "apply like", "reader"):
        assert pulse.stuck(60) == []
        clock.now += 10_000
        busy = True
        # Nothing was to be heard before there was something to do.
        assert pulse.stuck(60) == []
        clock.now += 59
        assert pulse.stuck(60) == []
        clock.now += 2
        assert pulse.stuck(60) == ["like"]
        pulse.beat("somebody else")
        assert pulse.stuck(60) == ["like"]
        pulse.beat("reader")
        assert pulse.stuck(60) == []
        clock.now += 61
        assert pulse.stuck(60) == ["like"]
        busy = False
        assert pulse.stuck(60) == []
    assert not pulse.is_watching


async def test_answers_and_attempts_are_heard(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(PULSE, "_clock", clock)
    # What tests before heard went by another clock.
    monkeypatch.setattr(PULSE, "_heard", {})
    with PULSE.watched("test", lambda: True, "test role", "trying"):
        assert PULSE.stuck(60) == []
        clock.now += 100
        assert PULSE.stuck(60) == ["test"]
        connection = await database.connect("test role")
        assert await connection.fetchval("SELECT 1") == 1
        await asyncio.sleep(0)
        assert PULSE.stuck(60) == []
        await connection.close()
        clock.now += 100
        tries = 0
        async for attempt in retrying("trying", sleep=lambda _: asyncio.sleep(0)):
            with attempt:
                tries += 1
                if tries == 1:
                    raise ConnectionResetError("away")
        assert PULSE.stuck(60) == []


async def test_a_daemon_whose_projectors_wait_for_what_never_comes_is_stuck(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wake-up that is lost: the log has events, and they wait at its tail."""

    waiting = []

    async def never(_: LogReader, *what: object) -> Window:
        waiting.append(what)
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    monkeypatch.setattr(LogReader, "window", never)
    clock = Clock()
    monkeypatch.setattr(PULSE, "_clock", clock)
    # What tests before heard went by another clock.
    monkeypatch.setattr(PULSE, "_heard", {})
    await create(database)
    await append(database, [made(n, "create") for n in range(5)])
    daemon = Daemon(database, DECLARATIONS, Settings(audit_accounts_per_second=0))
    stop = asyncio.Event()
    running = asyncio.create_task(daemon.run(stop))
    try:
        await until(lambda: are_at_work(daemon, waiting))
        assert daemon.sentence.startswith("Runs 6 of 6 projections")
        assert "events behind" in daemon.sentence
        assert PULSE.stuck(60) == []
        clock.now += 100
        # Aggregates ask for deltas all the time, so of them something is heard.
        await until(only_tables_are_stuck)
    finally:
        stop.set()
        await running


async def are_at_work(daemon: Daemon, waiting: list[object]) -> bool:
    return daemon.is_ready and len(waiting) == len(TABLES)


async def only_tables_are_stuck() -> bool:
    return sorted(PULSE.stuck(60)) == TABLES
