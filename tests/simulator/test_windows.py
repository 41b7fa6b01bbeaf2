"""Histories of the simulator through log and projectors, in windows of any size."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from events.event import Event
from events.jetstream_wire import decode
from tests.simulator.delivery import rewound, twice
from tests.simulator.facts import LIKE, POST, Fact, tid
from tests.simulator.hands import Everything
from tests.simulator.network import BEGIN_US, Network
from tests.simulator.oracle import tables

REF = '{"uri":"at://did:plc:a/app.bsky.feed.post/a","cid":"bafyrei' + 51 * "a" + 'a"}'
BEGINNING = '"createdAt":"2025-01-01T00:00:00.000Z"'
TEXTS = {
    POST: f'{{"$type":"{POST}",{BEGINNING},"text":"a"}}',
    LIKE: f'{{"$type":"{LIKE}",{BEGINNING},"subject":{REF}}}',
}


def events_of(facts: Sequence[Fact]) -> list[Event]:
    """The events that the wire makes of facts."""
    return [event for fact in facts if isinstance(event := decode(fact.line()), Event)]


def logged_of(facts: Sequence[Fact]) -> list[tuple[object, ...]]:
    """What the log has of facts."""
    return [fact.logged for fact in facts if fact.what != "garbage"]


async def assert_right(
    every: Everything, facts: Sequence[Fact], delivered: Sequence[Fact], windows: Sequence[int]
) -> None:
    await every.begin(events_of(delivered))
    await every.finish(windows)
    found = await every.found()
    for name, rows in tables(facts, logged_of(delivered)).items():
        assert found[name] == rows, name
    await every.assert_counts_are_exact()


@pytest.mark.parametrize("seed", range(1, 9))
def test_tables_are_those_of_the_oracle(
    every: Everything, runner: asyncio.Runner, seed: int
) -> None:
    # In hand, windows are not halved: what Postgres refuses is for the processes.
    facts = [fact for fact in Network(seed, 400).facts if fact.fate != "refused"]
    for delivered, sizes in (
        (facts, (3, 10_000)), (rewound(facts, seed, 20), (3, 40)), (twice(facts), (40, 10_000)),
    ):  # fmt: skip
        for size in sizes:
            runner.run(assert_right(every, facts, delivered, [size] * len(delivered)))


def fact(number: int, what: str, collection: str) -> Fact:
    """A fact about one record, of one content."""
    text = "" if what == "delete" else TEXTS[collection]
    time_us = BEGIN_US + number * 1_000_000
    cid = text and "bafyrei" + 51 * "b" + "a"
    did = "did:plc:" + 24 * "a"
    return Fact(number, did, what, time_us, collection, "a", tid(time_us), cid, text)


@pytest.mark.parametrize("collection", [POST, LIKE])
@pytest.mark.parametrize("windows", [(1,), (2,), (1, 2), (2, 3), (3, 2), (10,), (4,), (5,)])
def test_a_delete_that_comes_late_does_not_make_a_create_a_new_one(
    every: Everything, runner: asyncio.Runner, collection: str, windows: tuple[int, ...]
) -> None:
    """The second create of the same content changes nothing, whatever repeat is before it."""
    create, delete, again, once_more = [
        fact(n, what, collection) for n, what in enumerate(("create", "delete", "create", "create"))
    ]
    facts = [create, delete, again, once_more]
    # How far the repo is, is told by every event.
    assert {**tables(facts), "actor_sync": []} == {**tables(facts[:3]), "actor_sync": []}
    for repeats in ([delete], [create, delete], [replace(delete)] * 2):
        delivered = [create, delete, again, *repeats, once_more]
        sizes = windows * len(delivered)
        runner.run(assert_right(every, facts, delivered, sizes))
