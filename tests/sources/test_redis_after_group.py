"""Beginning where the group of another reader is, as when its indexer is replaced."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from events.errors import SourceError
from tests.support.redis_case import (
    STREAM,
    Said,
    a_source,
    commit_all,
    events_of,
    fill,
    group_facts,
    ids,
    numbers,
    read,
    take,
)
from tests.support.redis_server import RedisServer

OLD = "firehose_group"


async def consumed(server: RedisServer, count: int, acknowledged: int) -> None:
    """What an indexer of before has done: read so many entries, and acknowledged the first."""
    await server.run("XGROUP", "CREATE", STREAM, OLD, "0")
    words = ("COUNT", count, "STREAMS", STREAM, ">")
    await server.run("XREADGROUP", "GROUP", OLD, "indexer_1", *words)
    for name in (await ids(server))[:acknowledged]:
        await server.run("XACK", STREAM, OLD, name)
        await server.run("XDEL", STREAM, name)


@pytest.mark.parametrize(("given", "acknowledged", "first"), [(6, 6, 6), (6, 4, 4), (0, 0, 0)])
async def test_begins_with_what_the_other_has_yet_to_do(
    server: RedisServer, said: Said, given: int, acknowledged: int, first: int
) -> None:
    await fill(server, 10)
    if given:
        await consumed(server, given, acknowledged)
    else:
        await server.run("XGROUP", "CREATE", STREAM, OLD, "0")
    source = a_source(server, said, after_group=OLD)
    batches = await read(source, None, 10 - first)
    assert numbers(events_of(batches)) == list(range(first, 10))
    assert not said.has("LOST")
    # What the other group was given is still its own, and our group is beside it.
    assert (await group_facts(server, OLD))["pending"] == given - acknowledged


async def test_the_saved_cursor_counts_once_there_is_one(server: RedisServer, said: Said) -> None:
    await fill(server, 10)
    await consumed(server, 3, 3)
    source = a_source(server, said, after_group=OLD, batch_events_max=2)
    async with aclosing(source.batches(None)) as stream:
        batches = await take(stream, 4)
        await commit_all(source, batches)
    assert numbers(events_of(batches)) == [3, 4, 5, 6]
    await server.run("XGROUP", "DESTROY", STREAM, OLD)
    again = await read(a_source(server, said, after_group=OLD), batches[-1].cursor, 3)
    assert numbers(events_of(again)) == [7, 8, 9]


async def test_what_the_other_left_out_by_hand_is_not_lost_in_silence(
    server: RedisServer, said: Said
) -> None:
    """Its last entry is gone, as rsky's indexer deletes what it has done: that is no loss."""
    await fill(server, 5)
    await consumed(server, 5, 5)
    await fill(server, 2, first=5)
    source = a_source(server, said, after_group=OLD)
    assert numbers(events_of(await read(source, None, 2))) == [5, 6]
    assert not said.has("LOST")
    assert not said.has("was flushed")


async def test_a_group_that_is_not_there_is_said(server: RedisServer, said: Said) -> None:
    await fill(server, 1)
    with pytest.raises(SourceError, match="no group 'firehose_group' to begin after"):
        await read(a_source(server, said, after_group=OLD), None, 1)
