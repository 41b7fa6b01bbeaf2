"""A source that rewinds further than the log remembers loses nothing."""

from __future__ import annotations

import asyncpg
import pytest

from events.event import Batch, Event
from events.jetstream_wire import decode
from events.log import Appender
from events.recent import RecentEvents
from projector.database import Database
from tests.simulator.facts import Fact
from tests.simulator.network import Network
from tests.simulator.oracle import Oracle
from tests.support.engine import ALL, create, project


async def append(connection: asyncpg.Connection, facts: list[Fact], window_events: int) -> None:
    """Appends as an ingest does that begins at the first fact, in small batches."""
    recent = RecentEvents(window_events)
    appender = Appender(connection, "test", recent=recent, partition_events=100_000)
    await appender.open()
    for i in range(0, len(facts), 20):
        batch = Batch(cursor=str(i))
        for fact in facts[i : i + 20]:
            batch.add(decode(fact.line()))
        await appender.append(batch)


@pytest.mark.parametrize("window_events", [1, 200, 10_000])
async def test_a_rewind_beyond_what_is_remembered(database: Database, window_events: int) -> None:
    """What of it is remembered stays out, and what is not comes again; so an account's removal may
    come again, and then all that came after it has to."""
    facts = Network(3, 300).facts
    oracle = Oracle(facts, exactly=False)
    await create(database, ALL)
    connection = await database.connect("test append")
    try:
        for again in (0, 150, 0):
            await append(connection, facts[again:], window_events)
            await project(database, declarations=ALL)
    finally:
        await connection.close()
    complaints = await oracle.verdict(database.url)
    assert [text for text in complaints if "more than once" not in text] == []
    if window_events > 2 * len(facts):
        assert complaints == []


def about(did: str, action: str, number: int) -> Event:
    """Something about an account."""
    return Event(0, did, "account", action, None, None, None, None, b"{}", number)


def test_of_an_account_that_was_removed_all_comes_again_while_that_is_remembered() -> None:
    recent = RecentEvents(3)
    facts = [about("did:plc:a", "deleted", 1), about("did:plc:a", "active", 2)]
    others = [about(f"did:plc:b{n}", "active", n) for n in range(9)]
    assert recent.new_among(facts + others) == facts + others
    recent.add(facts + others[:1])
    assert recent.new_among(facts + others[:2]) == facts + others[1:2]
    assert recent.new_among(facts[1:] + others[:2]) == facts[1:] + others[1:2]
    for n in range(0, 9, 3):
        recent.add(others[n : n + 3])
    recent.add(facts[1:])
    assert recent.new_among(facts[1:]) == []
