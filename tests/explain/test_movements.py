"""The movements of every key of every counter add up to the model's counts, at every offset."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from events.log import read_head
from projector import movements
from projector.declare import Aggregate
from projector.errors import UsageError
from projector.explain import explain
from projector.history import values_of
from projector.movements import course_of, searching, spellings
from projector.watch import CounterOf, find_counter
from tests.explain.told import MOVES, STORY, A
from tests.support.engine import AGGREGATES, DECLARATIONS
from tests.support.harness import Stage
from tests.support.histories import DIDS, POST, budget, deliveries, histories
from tests.support.model import COUNTS, Model

COUNTERS = [
    CounterOf(aggregate, name, count)
    for aggregate in AGGREGATES
    for name, count in aggregate.counters.items()
]
KEYS = {
    "profile_agg": DIDS[:4],
    "post_agg": [f"at://{did}/{POST}/r{n}" for n, did in enumerate(DIDS[:2])],
}


def model_counts(model: Model) -> dict[tuple[str, str, str], int]:
    """What the model counts: by aggregate, counter and key."""
    tables = model.tables()
    return {
        (name, counter, row[key]): row[counter]
        for name, (key, counters) in COUNTS.items()
        for row in tables[name]
        for counter in counters
    }


async def assert_as_the_model(stage: Stage) -> None:
    head = len(stage.log)
    model, expected = Model(), []
    for event in stage.log:
        model.eat(event)
        expected.append(model_counts(model))
    for counter in COUNTERS:
        for key in KEYS[counter.aggregate.name]:
            named = (counter.aggregate.name, counter.name, key)
            async with searching(stage.auditor, counter, key, head) as search:
                course = await course_of(search)
                keys = await search.mentioned(0)
                latest, _ = await search.latest(keys, 0, 3)
            value_at = {point.log_offset: point.value for point in values_of(course.movements)}
            value = 0
            for offset, counts in enumerate(expected, 1):
                value = value_at.get(offset, value)
                assert value == counts.get(named, 0), (named, offset)
            assert course.value == sum(m.change for m in course.movements) == value
            assert latest == course.movements[::-1][:3]


@budget(8)
@given(events=st.one_of(deliveries(), histories(odd_revs=True)))
def test_movements_are_those_of_the_model(
    stage: Stage, runner: asyncio.Runner, events: list[Event]
) -> None:
    async def run() -> None:
        await stage.begin(events)
        await stage.finish()
        await assert_as_the_model(stage)

    runner.run(run())


@budget(3)
@given(events=deliveries(40))
def test_a_long_log_is_looked_through_in_steps(
    stage: Stage, runner: asyncio.Runner, events: list[Event]
) -> None:
    async def run() -> None:
        await stage.begin(events)
        await stage.finish()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(movements, "STEP_EVENTS", 13)
            patch.setattr(movements, "ACCOUNTS_MAX", 2)
            await assert_as_the_model(stage)

    runner.run(run())


def test_a_story_told_by_hand(stage: Stage, runner: asyncio.Runner) -> None:
    async def run() -> None:
        await stage.begin(STORY)
        await stage.finish([1] * 200)
        await assert_as_the_model(stage)
        counter = find_counter("followersCount", DECLARATIONS)
        async with searching(stage.auditor, counter, A, await read_head(stage.admin)) as search:
            course = await course_of(search)
        assert [(m.log_offset, m.change) for m in course.movements] == MOVES

    runner.run(run())


@budget(4)
@given(events=deliveries(40), beginning=st.integers(1, 40))
def test_what_is_left_out_of_a_bounded_search_are_only_records_from_before(
    stage: Stage, runner: asyncio.Runner, events: list[Event], beginning: int
) -> None:
    async def run() -> None:
        await stage.begin(events)
        await stage.finish()
        head = len(stage.log)
        after = min(beginning, head)
        for counter in COUNTERS:
            for key in KEYS[counter.aggregate.name]:
                async with searching(stage.auditor, counter, key, head) as search:
                    all_there_are = (await course_of(search)).movements
                    found, _ = await search.latest(await search.mentioned(after), after, head)
                new = [m for m in all_there_are if m.log_offset > after][::-1]
                assert [m for m in new if m in found] == found
                for missed in (m for m in new if m not in found):
                    assert missed.change < 0

    runner.run(run())


def test_what_json_may_write_for_a_key_is_found() -> None:
    plain, slash, code = spellings('at://did:plc:x/a&"é/1')
    assert plain == 'at://did:plc:x/a&\\"é/1'.encode()
    assert (slash, code) == (b"\\/", b"\\u")


async def complaint(stage: Stage, key: str, **more: int) -> str:
    counter = find_counter("profile_agg.followersCount", DECLARATIONS)
    with pytest.raises(UsageError) as raised:
        await explain(stage.auditor, counter, key, "bsky", report=lambda _a, _b: None, **more)
    return str(raised.value)


def test_a_key_that_nobody_mentioned(stage: Stage, runner: asyncio.Runner) -> None:
    async def run() -> None:
        await stage.begin(STORY)
        await stage.finish()
        assert await complaint(stage, "did:plc:nobody") == (
            "nothing ever counted for 'did:plc:nobody' in profile_agg.followersCount: "
            "none of the log's 13 events; check the key"
        )
        said = await complaint(stage, "did:plc:nobody", search_events=5)
        assert said.endswith(
            "none of the offsets above 8; check the key, or look through the whole log by "
            "--search-events 0"
        )

    runner.run(run())


def test_names_of_counters() -> None:
    assert find_counter("likeCount", DECLARATIONS).full_name == "post_agg.likeCount"
    names = ", ".join(counter.full_name for counter in COUNTERS)
    with pytest.raises(UsageError, match=f"no counter is named like; there are: {names}"):
        find_counter("like", DECLARATIONS)
    counters = {"postsCount": AGGREGATES[0].counters["postsCount"]}
    other = Aggregate("other", 1, "other", "did", counters, "")
    several = "several counters; write one of: profile_agg[.]postsCount, other[.]postsCount"
    with pytest.raises(UsageError, match=several):
        find_counter("postsCount", [*DECLARATIONS, other])
    assert find_counter("other.postsCount", [*DECLARATIONS, other]).aggregate is other
