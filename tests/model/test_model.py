"""The engine against the naive model, under random histories, windows, repeats and crashes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from projector import projectors
from tests.support.engine import project
from tests.support.harness import Stage
from tests.support.histories import budget, deliveries, histories, long_lists
from tests.support.model import Model

windows = long_lists(st.sampled_from((1, 2, 3, 5, 8, 13, 50)), 60)


async def assert_as_the_model(stage: Stage) -> None:
    model = Model(stage.log)
    found = await stage.tables()
    for name, rows in model.tables().items():
        assert found[name] == rows, name
    assert await stage.letters() == model.letters
    await stage.assert_counts_are_exact()


async def in_windows(stage: Stage, events: Sequence[Event], sizes: Sequence[int]) -> None:
    await stage.begin(events)
    await stage.finish(sizes)
    await assert_as_the_model(stage)


@budget(150)
@given(events=deliveries(), sizes=windows)
def test_tables_are_those_of_the_model_in_any_windows(
    stage: Stage, runner: asyncio.Runner, events: list[Event], sizes: list[int]
) -> None:
    runner.run(in_windows(stage, events, sizes))


@budget(40)
@given(events=histories(odd_revs=True), sizes=windows)
def test_events_without_revs_are_always_applied(
    stage: Stage, runner: asyncio.Runner, events: list[Event], sizes: list[int]
) -> None:
    runner.run(in_windows(stage, events, sizes))


@budget(8)
@given(
    events=deliveries(100),
    window=st.sampled_from((1, 2, 7, 1000)),
    probed=st.sampled_from((1, 3, 1000)),
)
def test_a_daemon_makes_the_tables_of_the_model(
    stage: Stage, runner: asyncio.Runner, events: list[Event], window: int, probed: int
) -> None:
    async def run() -> None:
        await stage.begin(events)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(projectors, "PROBED_ROWS_MIN", probed)
            await project(stage.database, window_events=window)
        await assert_as_the_model(stage)

    runner.run(run())


@budget(15)
@given(events=deliveries())
def test_windows_of_any_size_make_the_same_tables(
    stage: Stage, runner: asyncio.Runner, events: list[Event]
) -> None:
    async def tables(window: int) -> object:
        await stage.begin(events)
        await stage.finish([window] * 10 * (len(events) + 1))
        return await stage.everything()

    async def run() -> None:
        whole = await tables(len(events))
        for window in (1, 2, 7):
            assert await tables(window) == whole, window

    runner.run(run())


@budget(8)
@given(facts=histories(25), sizes=windows)
def test_any_suffix_delivered_again_changes_no_byte(
    stage: Stage, runner: asyncio.Runner, facts: list[Event], sizes: list[int]
) -> None:
    """Invariant 5, for every suffix of everything and of every repo."""
    suffixes = [facts[i:] for i in range(len(facts))]
    suffixes += [[f for f in facts[i:] if f.did == first.did] for i, first in enumerate(facts)]

    async def run() -> None:
        await stage.begin(facts)
        await stage.finish(sizes)
        before = await stage.everything()
        for suffix in suffixes:
            await stage.append(suffix)
            await stage.finish(sizes)
            assert await stage.everything() == before
        await assert_as_the_model(stage)

    runner.run(run())


steps = long_lists(
    st.tuples(
        st.integers(0, 11),  # which projector, or its rival, who believes that it is the owner
        st.sampled_from((1, 2, 3, 5, 8, 50)),  # the window's size
        st.one_of(st.none(), st.integers(0, 12)),  # at which statement the connection breaks
        st.booleans(),  # whether that statement reaches the server
    ),
    40,
)


@budget(30)
@given(events=deliveries(30), plan=steps)
def test_crashes_between_any_two_steps_leave_the_same_tables(
    stage: Stage,
    runner: asyncio.Runner,
    events: list[Event],
    plan: list[tuple[int, int, int | None, bool]],
) -> None:
    """And in every snapshot on the way the counts are exact (invariant 7)."""

    async def run() -> None:
        await stage.begin(events)
        for which, size, statements, survive in plan:
            hand = (*stage.hands, *stage.rivals)[which]
            if statements is None:
                await hand.attempt(size)
            else:
                await hand.crash(size, statements, survive=survive)
            await stage.assert_counts_are_exact()
        await stage.finish()
        await assert_as_the_model(stage)

    runner.run(run())
