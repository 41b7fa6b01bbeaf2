"""The Redis source in trouble: streams that went back, servers away, others who trim."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path

from tests.support.redis_case import (
    GROUP,
    STREAM,
    Said,
    a_source,
    commit_all,
    events_of,
    fill,
    group_facts,
    has_lag,
    ids,
    numbers,
    read,
    take,
)
from tests.support.redis_server import CuttingProxy, RedisServer


async def test_a_flushed_stream_is_said_and_read_from_its_beginning(
    server: RedisServer, said: Said
) -> None:
    await fill(server, 10)
    async with aclosing(a_source(server, said).batches(None)) as stream:
        taken = await take(stream, 10)
        await server.run("FLUSHALL")
        await fill(server, 5, first=100)
        assert numbers(events_of(await take(stream, 5))) == list(range(100, 105))
    assert said.has(f"read through {taken[-1].cursor}")
    assert said.has("flushed")


async def test_a_restart_without_data_is_said(server: RedisServer, said: Said) -> None:
    await fill(server, 10)
    source = a_source(server, said)
    async with aclosing(source.batches(None)) as stream:
        taken = await take(stream, 10)
        following = asyncio.create_task(take(stream, 1))
        await server.restart(with_data=False)
        await said.wait_for("reading from its beginning")
        # Ids below those of the old stream, as from a server whose clock is behind.
        await server.run("XADD", STREAM, "5-1", "other", "x")
        got = await following
        await server.run("XADD", STREAM, "5-2", "other", "x")
        # What is told of the old stream must not trim the new one.
        await source.committed(taken[0].cursor)
        await server.run("XADD", STREAM, "5-3", "other", "x")
        got += await take(stream, 2)
        assert [each.source_cursor for one in got for each in one.dead] == ["5-1", "5-2", "5-3"]
    assert said.has("waiting") and said.has("goes on")


async def test_an_older_copy_is_noticed(server: RedisServer, said: Said, tmp_path: Path) -> None:
    await fill(server, 20)
    source = a_source(server, said)
    first = await read(source, None, 10)
    await commit_all(source, first)
    await server.copy_data(tmp_path / "copy")
    second = await read(a_source(server, said), first[0].cursor, 10)
    await fill(server, 5, first=20)
    third = await read(a_source(server, said), second[-1].cursor, 5)
    await server.restore_data(tmp_path / "copy")
    assert not said.lines
    again = await read(a_source(server, said), third[-1].cursor, 11)
    assert said.has(f"read through {third[-1].cursor}, but the stream ends at {second[-1].cursor}")
    assert numbers(events_of(again)) == list(range(9, 20))


async def test_an_older_copy_that_went_on_is_noticed(
    server: RedisServer, said: Said, tmp_path: Path
) -> None:
    await fill(server, 10)
    first = await read(a_source(server, said), None, 10)
    await server.copy_data(tmp_path / "copy")
    await fill(server, 10, first=10)
    second = await read(a_source(server, said), first[-1].cursor, 10)
    await server.restore_data(tmp_path / "copy")
    await fill(server, 3, first=20)
    got = await read(a_source(server, said), second[-1].cursor, 13)
    assert said.has("restored from an older copy")
    assert numbers(events_of(got)) == [*range(10), 20, 21, 22]


async def test_an_older_copy_is_noticed_while_reading(
    server: RedisServer, said: Said, tmp_path: Path
) -> None:
    await fill(server, 10)
    async with aclosing(a_source(server, said).batches(None)) as stream:
        await take(stream, 10)
        await server.copy_data(tmp_path / "copy")
        await fill(server, 10, first=10)
        await take(stream, 10)
        await server.restore_data(tmp_path / "copy")
        await fill(server, 3, first=20)
        got = await take(stream, 13)
    assert said.has("restored from an older copy")
    assert numbers(events_of(got)) == [*range(10), 20, 21, 22]


async def test_goes_on_after_a_stall(server: RedisServer, said: Said) -> None:
    await fill(server, 10)
    source = a_source(server, said, timeout_seconds=0.1)
    async with aclosing(source.batches(None)) as stream:
        await take(stream, 10)
        following = asyncio.create_task(take(stream, 10))
        server.pause()
        await said.wait_for("waiting")
        server.resume()
        await fill(server, 10, first=10)
        assert numbers(events_of(await following)) == list(range(10, 20))
    assert not said.has("LOST") and not said.has("another reader")


async def test_waits_for_a_server_that_is_away(server: RedisServer, said: Said) -> None:
    await fill(server, 20)
    source = a_source(server, said)
    await server.stop()
    async with aclosing(source.batches(None)) as stream:
        starting = asyncio.create_task(take(stream, 10))
        await said.wait_for("waiting")
        await server.start()
        taken = await starting
        await server.kill()
        # It fails in silence towards the caller, and is made up for later.
        await source.committed(taken[0].cursor)
        assert said.has("cannot acknowledge")
        await server.start()
        taken += await take(stream, 10)
        await source.committed(taken[1].cursor)
        assert (await group_facts(server))["pending"] == 0
    assert numbers(events_of(taken)) == list(range(20))


async def test_a_lost_reply_loses_and_repeats_nothing(server: RedisServer, said: Said) -> None:
    await fill(server, 30)
    async with CuttingProxy(server.port) as proxy:
        source = a_source(server, said, url=proxy.url)
        async with aclosing(source.batches(None)) as stream:
            taken = await take(stream, 10)
            proxy.cut_reply_to(b"XREADGROUP")
            taken += await take(stream, 20)
        assert proxy.cuts == 1
    assert numbers(events_of(taken)) == list(range(30))
    assert not said.has("another reader")


async def test_a_second_reader_in_the_group_takes_nothing_away(
    server: RedisServer, said: Said
) -> None:
    await fill(server, 40)
    ours, theirs = a_source(server, Said()), a_source(server, said, consumer="c2")
    async with aclosing(ours.batches(None)) as one, aclosing(theirs.batches(None)) as two:
        got = [await take(each, 10) for each in (one, two, one, two, one, two)]
        await theirs.committed(got[5][-1].cursor)
        assert numbers(events_of(got[0] + got[2] + got[4])) == list(range(30))
        assert numbers(events_of(got[1] + got[3] + got[5])) == list(range(30))
    assert said.has("another reader uses our consumer group")
    assert len(await ids(server)) == 40


async def test_what_others_trim_before_we_read_it_is_said(server: RedisServer, said: Said) -> None:
    await fill(server, 30)
    async with aclosing(a_source(server, said).batches(None)) as stream:
        await take(stream, 10)
        await server.run("XTRIM", STREAM, "MAXLEN", 0)
        await fill(server, 4, first=50)
        assert numbers(events_of(await take(stream, 4))) == [50, 51, 52, 53]
        exact = await has_lag(server)
        assert said.has("LOST 20 entries" if exact else "LOST an unknown number of entries")
        if exact:
            assert (await group_facts(server))["lag"] == 0


async def test_what_others_trim_while_we_are_away_is_said(server: RedisServer, said: Said) -> None:
    await fill(server, 30)
    source = a_source(server, said)
    taken = await read(source, None, 20)
    await source.committed(taken[0].cursor)
    before = await ids(server)
    await server.run("XTRIM", STREAM, "MINID", before[-3])
    got = await read(a_source(server, said), taken[0].cursor, 3)
    assert numbers(events_of(got)) == [27, 28, 29]
    assert said.has("LOST 10 or more entries")


async def test_what_others_may_have_trimmed_is_said(server: RedisServer, said: Said) -> None:
    await fill(server, 30)
    source = a_source(server, said)
    async with aclosing(source.batches(None)) as stream:
        taken = await take(stream, 10)
        await source.committed(taken[0].cursor)
    await server.run("XTRIM", STREAM, "MINID", (await ids(server))[-3])
    got = await read(a_source(server, said), taken[0].cursor, 3)
    assert numbers(events_of(got)) == [27, 28, 29]
    assert said.has("perhaps LOST 17 entries" if await has_lag(server) else "perhaps LOST entries")


async def test_others_that_trim_only_what_we_read_are_no_trouble(
    server: RedisServer, said: Said
) -> None:
    await fill(server, 10)
    source = a_source(server, said)
    taken = await read(source, None, 10)
    await source.committed(taken[0].cursor)
    await server.run("XTRIM", STREAM, "MAXLEN", 0)
    async with aclosing(a_source(server, said).batches(taken[0].cursor)) as stream:
        following = asyncio.create_task(take(stream, 5))
        await fill(server, 5, first=10)
        assert numbers(events_of(await following)) == list(range(10, 15))
        if await has_lag(server):
            assert (await group_facts(server))["lag"] == 0
            assert not said.lines


async def test_a_crash_of_the_server_is_no_loss(server: RedisServer, said: Said) -> None:
    await fill(server, 40)
    source = a_source(server, said)
    async with aclosing(source.batches(None)) as stream:
        taken = await take(stream, 20)
        await source.committed(taken[0].cursor)
        await server.restart()
        taken += await take(stream, 10)
        assert (await group_facts(server)).get("lag", 10) == 10
    await server.restart()
    async with aclosing(a_source(server, said).batches(taken[0].cursor)) as stream:
        assert numbers(events_of(await take(stream, 30))) == list(range(10, 40))
        facts = await group_facts(server)
        assert (facts["pending"], facts.get("lag", 0)) == (30, 0)
    assert numbers(events_of(taken)) == list(range(30))
    assert not said.has("LOST") and not said.has("beginning")


async def test_deletions_by_others_are_counted(server: RedisServer, said: Said) -> None:
    await fill(server, 20)
    async with aclosing(a_source(server, said).batches(None)) as stream:
        await take(stream, 10)
        await server.run("XDEL", STREAM, *(await ids(server))[12:15])
        assert numbers(events_of(await take(stream, 7))) == [10, 11, *range(15, 20)]
        following = asyncio.create_task(take(stream, 1))
        if await has_lag(server):
            await said.wait_for("LOST 3 entries")
        await fill(server, 1, first=20)
        await following


async def test_a_deleted_group_is_made_again_where_we_are(server: RedisServer, said: Said) -> None:
    await fill(server, 20)
    source = a_source(server, said)
    async with aclosing(source.batches(None)) as stream:
        await source.committed((await take(stream, 10))[0].cursor)
        await fill(server, 5, first=20)
        await server.run("XGROUP", "DESTROY", STREAM, GROUP)
        assert numbers(events_of(await take(stream, 10))) == list(range(10, 20))
        facts = await group_facts(server)
        assert (facts["pending"], facts.get("lag", 5)) == (10, 5)
    assert not said.lines
