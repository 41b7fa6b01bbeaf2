"""Verdicts in windows of any sizes, against a judge who sees one event at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from projector.history import read_history
from projector.watch import find_counter
from tests.judging.quarrels import quarrels
from tests.simulator.court import FLAGS, Entry
from tests.simulator.court import Court as NaiveCourt
from tests.simulator.facts import POST
from tests.support.court import TOGETHER, Court, GroupHand
from tests.support.harness import AggregateHand
from tests.support.histories import budget, long_lists
from tests.support.rebuilding import left_behind, rebuild

windows = long_lists(st.sampled_from((1, 2, 3, 5, 8, 13, 50, 50)), 40)


def in_order(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: (row["recordUri"], row["did"]))


def entry_of(event: Event) -> Entry:
    return Entry(*(getattr(event, name) for name in Entry._fields))


async def in_windows(court: Court, sizes: Sequence[int]) -> int:
    """Has the group, and what counts, catch up; returns how many windows of the group it took."""
    group, *_ = court.hands
    assert isinstance(group, GroupHand)
    group.checkpoint, before, size = None, group.windows, iter(sizes)
    while await group.step(next(size, len(court.log) + 1)):
        assert group.windows - before <= len(court.log)
    for hand in court.hands:
        while isinstance(hand, AggregateHand) and await hand.step(1):
            pass
    return group.windows - before


async def assert_as_judged(court: Court) -> None:
    naive, tables = NaiveCourt(map(entry_of, court.log)), await court.tables()
    found = {str(row["uri"]): {flag: row[flag] for flag in FLAGS} for row in tables["post"]}
    assert found == naive.flags()
    replies = Counter({row["uri"]: row["replyCount"] for row in tables["post_agg"]})
    assert +replies == naive.replies()
    told = [row for row in tables["notification"] if f"/{POST}/" in str(row["recordUri"])]
    assert in_order(told) == in_order(naive.notices())
    assert not await court.letters()
    await court.assert_counts_are_exact()


@budget(30)
@given(events=quarrels(), sizes=windows)
def test_verdicts_are_those_of_the_naive_judge_in_any_windows(
    court: Court, runner: asyncio.Runner, events: list[Event], sizes: list[int]
) -> None:
    async def run() -> None:
        await court.begin(events)
        await in_windows(court, sizes)
        await assert_as_judged(court)

    runner.run(run())


@budget(20)
@given(events=quarrels())
def test_one_window_of_all_there_is_gives_the_same(
    court: Court, runner: asyncio.Runner, events: list[Event]
) -> None:
    async def run() -> None:
        await court.begin(events)
        await in_windows(court, [])
        await assert_as_judged(court)

    runner.run(run())


steps = long_lists(
    st.tuples(
        st.sampled_from((0, 0, -2, -1)),  # the group, or who merges what it counted
        st.booleans(),  # or its rival, who believes that it is the owner
        st.sampled_from((1, 2, 3, 5, 8, 50)),
        st.one_of(st.none(), st.integers(0, 30)),  # at which statement the connection breaks
        st.booleans(),  # whether that statement reaches the server
    ),
    30,
)


@budget(10)
@given(events=quarrels(), plan=steps)
def test_two_owners_and_kills_between_any_two_statements_change_nothing(
    court: Court,
    runner: asyncio.Runner,
    events: list[Event],
    plan: list[tuple[int, bool, int, int | None, bool]],
) -> None:
    async def run() -> None:
        await court.begin(events)
        for which, rival, size, statements, survive in plan:
            hand = (court.rivals if rival else court.hands)[which]
            if statements is None:
                await hand.attempt(size)
            else:
                await hand.crash(size, statements, survive=survive)
            await court.assert_counts_are_exact()
        await in_windows(court, [])
        await assert_as_judged(court)

    runner.run(run())


@budget(2)
@given(events=quarrels(60), sizes=windows, alone=st.booleans())
def test_a_rebuild_gives_the_same_bytes(
    court: Court, runner: asyncio.Runner, events: list[Event], sizes: list[int], alone: bool
) -> None:
    async def run() -> None:
        await court.begin(events)
        await court.finish(sizes)
        before = await court.everything()
        names = ["post"] if alone else []
        outcome = await rebuild(court.database, *names, declarations=TOGETHER)
        assert outcome.comparison.is_equal
        assert await court.everything() == before
        assert await left_behind(court.database) == []

    runner.run(run())


@budget(5)
@given(events=quarrels())
def test_a_course_over_time_ends_with_the_count(
    court: Court, runner: asyncio.Runner, events: list[Event]
) -> None:
    """What a gate forbids does not count there either."""

    async def run() -> None:
        await court.begin(events)
        await in_windows(court, [])
        counter = find_counter("replyCount", TOGETHER)
        for uri, count in NaiveCourt(court.log).replies().items():
            course = await read_history(court.auditor, counter, uri, report=lambda *_: None)
            assert course.value == count

    runner.run(run())
