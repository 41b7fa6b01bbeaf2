"""Derived rows are those that the rows make, in any windows, whatever breaks and whoever rivals."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from events.event import Event
from projections.notification import notifications
from projector import derived, schema
from projector.derived import HOLD, Refresher
from projector.statements import live
from tests.derived.notified import in_order, notified
from tests.support.engine import rows_of
from tests.support.harness import PROJECTIONS, AggregateHand, Stage, until
from tests.support.histories import LIKE, budget, deliveries, made

SOURCES = ("like", "repost", "follow")
TOLD = replace(notifications, sources={name: notifications.sources[name] for name in SOURCES})
EMPTY = "DELETE FROM bsky.notification"

Step = tuple[int, int, int]
"""Which hand does it, in windows of how many events, and after how many statements it breaks."""


@pytest.fixture(scope="module")
def told(stage: Stage, runner: asyncio.Runner) -> Iterator[Stage]:
    """A stage that keeps a derived table as well, each by two who believe to own it."""
    runner.run(schema.create(stage.admin, [*PROJECTIONS, TOLD], "bsky"))
    stage.hands.append(AggregateHand(stage, TOLD))
    stage.rivals.append(AggregateHand(stage, TOLD))
    yield stage


async def assert_told(stage: Stage) -> None:
    assert await derived.audit(stage.auditor, [TOLD], "bsky") == []


async def notifications_of(stage: Stage) -> list[dict[str, Any]]:
    return in_order(await rows_of(stage.auditor, "notification"))


steps = st.lists(st.tuples(st.integers(0, 13), st.integers(1, 9), st.integers(-9, 9)), max_size=40)
# One record comes, goes and comes again, each told apart: each is made anew as of now.
AGAIN = [made(1, "create"), made(2, "delete"), made(3, "create", content=1)]
LIKES = 2
AGAIN_STEPS = [(LIKES, 1, 0), (6, 1, 0), (LIKES, 1, 0), (LIKES, 1, 0), (6, 1, 0), (6, 1, 0)]


def test_rows_are_those_that_the_rows_make(told: Stage, runner: asyncio.Runner) -> None:
    assert PROJECTIONS[LIKES].collection == LIKE

    @budget(25)
    @given(events=deliveries(50), steps=steps)
    @example(events=AGAIN, steps=AGAIN_STEPS)
    def play(events: list[Event], steps: list[Step]) -> None:
        runner.run(_play(told, events, steps))

    play()


async def _play(stage: Stage, events: list[Event], steps: list[Step]) -> None:
    await stage.admin.execute(EMPTY)
    await stage.begin(events)
    hands = [*stage.hands, *stage.rivals]
    for which, window, breaks in steps:
        hand = hands[which % len(hands)]
        if breaks > 0:
            await hand.crash(window, breaks, survive=breaks % 2 == 0)
        else:
            await hand.attempt(window)
        await assert_told(stage)
    await stage.finish([3, 1, 7])
    assert await notifications_of(stage) == notified(await stage.tables())
    await assert_told(stage)


def test_of_two_at_once_each_sees_what_the_other_did(told: Stage, runner: asyncio.Runner) -> None:
    """The second waits for the first before it looks, and so sees the rows that it made."""

    async def play() -> None:
        await told.admin.execute(EMPTY)
        await told.begin([made(n, "update", account=1, content=n % 2) for n in (1, 2, 3)])
        for _ in range(3):
            assert await told.hands[LIKES].step(1)
        first, second = await told.hands[-1].connected(), await told.rivals[-1].connected()
        one, all_of_it = (Refresher(TOLD, live(TOLD, "bsky"), most) for most in (1, 24))
        pid = second.get_server_pid()

        async def waits() -> bool:
            return bool(await told.admin.fetchval("SELECT pg_blocking_pids($1) <> '{}'", pid))

        async with first.transaction():
            await first.execute(HOLD, TOLD.name, TOLD.version)
            assert (await first.fetchrow(one.refresh_sql, TOLD.name, 1))[0] == 1
            merging = asyncio.create_task(all_of_it.merge(second))
            await until(waits)
        assert (await merging).rows == 2
        assert len(await notifications_of(told)) == 2
        assert await notifications_of(told) == notified(await told.tables())
        await assert_told(told)

    runner.run(play())
