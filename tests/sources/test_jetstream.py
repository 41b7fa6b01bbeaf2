"""The Jetstream source against a real server with scripted faults: nothing lost, order kept."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest

from events.event import Batch, Event, Wanted
from events.sources.jetstream_position import Position
from events.sources.jetstream_turns import End, Turns
from events.sources.jetstream_url import PUBLIC_HOSTS, parse_host
from tests.support.jetstream_consumer import (
    T0,
    consuming,
    line,
    lines,
    nobody,
    reached,
    source,
    time_of,
)
from tests.support.jetstream_server import Fault, JetstreamServer
from tests.support.shared import require_shared

# What comes, and from where


async def test_history_then_live_in_the_hosts_order() -> None:
    async with JetstreamServer(lines(300)) as server, consuming(server) as consumer:
        await consumer.until_last(299)
        server.append(line(300))
        await consumer.until_last(300)
        assert consumer.numbers == list(range(301))
        assert consumer.batches[-1].cursor == str(time_of(300))
        sizes = sum(batch.message_bytes for batch in consumer.batches)
        assert sizes == sum(map(len, server.lines))
    assert len(server.connections) == 1


async def test_real_events_come_whole() -> None:
    real = (require_shared() / "firehose" / "expected_v1.jsonl").read_bytes().splitlines()
    async with JetstreamServer(real) as server, consuming(server) as consumer:
        await consumer.until(lambda: len(consumer.events) == len(real))
        times = [json.loads(one)["time_us"] for one in real]
        assert [int(event.source_cursor) for event in consumer.events] == times
        assert consumer.batches[-1].cursor == str(max(times))


async def test_without_a_cursor_it_starts_live() -> None:
    async with JetstreamServer(lines(10)) as server, consuming(server, cursor=None) as consumer:
        await server.until(lambda: server.connections != [] and server.connections[0].open)
        server.append(line(10))
        await consumer.until_last(10)
        assert consumer.numbers == [10]
    assert server.connections[0].cursor is None


async def test_resumes_some_seconds_before_the_cursor() -> None:
    async with (
        JetstreamServer(lines(300)) as server,
        consuming(server, cursor=str(time_of(200)), rewind_seconds=3) as consumer,
    ):
        await consumer.until_last(299)
        assert consumer.numbers == list(range(170, 300))
    assert server.connections[0].cursor == time_of(170)


async def test_asks_for_the_collections_wanted() -> None:
    history = [line(0), line(1, collection="app.bsky.feed.like"), line(2, collection="a.b.c")]
    wanted = Wanted(["app.bsky.feed.like", "a.b.*"])
    async with JetstreamServer(history) as server, consuming(server, wanted=wanted) as consumer:
        await consumer.until_last(2)
        assert consumer.numbers == [1, 2]
    assert server.connections[0].query["wantedCollections"] == ["app.bsky.feed.like", "a.b.*"]


async def test_an_unwanted_message_is_counted_and_moves_the_cursor() -> None:
    history = [line(0), line(1, collection="a.b.c")]
    async with JetstreamServer(history) as server:
        url = f"{server.url}?wantedCollections=a.b.*&wantedCollections=app.bsky.feed.post"
        async with consuming(url, wanted=Wanted(["app.bsky.*"])) as consumer:
            await consumer.until(lambda: consumer.batches[-1:] != [] and reached(consumer, 1))
            assert sum(batch.skipped.total() for batch in consumer.batches) == 1
            assert consumer.numbers == [0]
    # What the operator wrote into the address stays.
    assert server.connections[0].query["wantedCollections"] == ["a.b.*", "app.bsky.feed.post"]


async def test_batches_are_bounded_and_not_held_back() -> None:
    async with (
        JetstreamServer(lines(250)) as server,
        consuming(server, batch_events_max=100, linger_ms=5) as consumer,
    ):
        await consumer.until_last(249)
        sizes = [len(batch.events) for batch in consumer.batches]
        assert max(sizes) <= 100
        server.append(line(250))
        await consumer.until_last(250)
        assert len(consumer.batches[-1].events) == 1


# Connections that end


@pytest.mark.parametrize("end", ["close", "abort"])
async def test_a_dropped_connection_is_resumed_from_the_last_message(end: str) -> None:
    faults = [Fault(after=150, end=end), Fault(after=120, end=end)]
    async with JetstreamServer(lines(400), faults=faults) as server, consuming(server) as consumer:
        await consumer.until_last(399)
        assert consumer.numbers == list(range(400))
    # Line 149 was the last, and 5 seconds are 50 lines.
    assert [connection.cursor for connection in server.connections[1:]] == [
        time_of(99),
        time_of(168),
    ]


async def test_a_host_that_always_begins_too_early_is_put_up_with() -> None:
    early = Fault(ignore_cursor=40)
    faults = [Fault(after=150, end="abort"), early, early, early]
    async with (
        JetstreamServer(lines(800), faults=faults) as server,
        consuming(server, cursor=str(time_of(450)), now_us=lambda: time_of(800)) as consumer,
    ):
        await consumer.until_last(799)
        assert consumer.numbers[0] == 400
        again = [int((event.rkey or "")[1:]) for event in consumer.events][150:]
        assert again == list(range(again[0], 800))
        assert 40 < again[0] <= 549
    assert len(server.connections) == 3


def test_drops_far_apart_are_not_counted_together() -> None:
    turns = Turns(
        [parse_host(host, Wanted(), compress=False) for host in PUBLIC_HOSTS],
        Position(None, rewind_us=0),
        backoff_seconds_min=1,
        backoff_seconds_max=60,
    )
    for _ in range(5):
        turns.ended(End("dropped", ""))
        turns.lasted()
    assert turns.host.address == PUBLIC_HOSTS[0]
    for _ in range(len(PUBLIC_HOSTS)):
        turns.ended(End("refused", ""))
    assert turns.host.address == PUBLIC_HOSTS[0]


async def test_a_host_that_drops_repeatedly_loses_its_turn() -> None:
    faults = [Fault(after=20, end="close"), Fault(after=20, end="abort")]
    async with (
        JetstreamServer(lines(200), faults=faults) as first,
        JetstreamServer(lines(200)) as second,
        consuming(first, second) as consumer,
    ):
        await consumer.until_last(199)
        assert consumer.numbers == list(range(200))
        assert (len(first.connections), len(second.connections)) == (2, 1)
        assert f"to {second.url}" in "\n".join(consumer.reports)


async def test_a_silent_host_loses_its_turn() -> None:
    async with (
        JetstreamServer(lines(200), faults=[Fault(after=100, stall=True)]) as first,
        JetstreamServer(lines(200)) as second,
        consuming(first, second, silent_seconds=0.3) as consumer,
    ):
        await first.until(lambda: first.connections != [] and first.connections[0].stalled)
        await consumer.until_last(199)
        assert consumer.numbers == list(range(200))
        assert second.connections[0].cursor == time_of(49)
        assert "said nothing for 0.3 s" in "\n".join(consumer.reports)


async def test_a_stall_shorter_than_the_patience_is_no_fault() -> None:
    async with (
        JetstreamServer(lines(200), faults=[Fault(after=100, stall=True)]) as server,
        consuming(server) as consumer,
    ):
        await server.until(lambda: server.connections != [] and server.connections[0].stalled)
        await consumer.until_last(99)
        server.release()
        await consumer.until_last(199)
    assert len(server.connections) == 1


async def test_hosts_that_refuse_are_passed_over_and_tried_again() -> None:
    faults = [Fault(refuse=503), Fault(refuse=500)]
    async with (
        JetstreamServer(lines(100), faults=faults) as first,
        JetstreamServer(faults=[Fault(refuse=400), Fault(refuse=400)]) as second,
        consuming(first, nobody(), second) as consumer,
    ):
        await consumer.until_last(99)
        assert consumer.numbers == list(range(100))
        assert len(first.connections) == 3
        told = "\n".join(consumer.reports)
        assert "503" in told
        assert "cannot be reached" in told


async def test_the_backoff_grows_to_its_bound_and_starts_anew_with_progress() -> None:
    faults = [Fault(refuse=503) for _ in range(6)]
    faults += [Fault(after=10, end="close")]
    async with (
        JetstreamServer(lines(100), faults=faults) as server,
        consuming(server, backoff_seconds_min=0.01, backoff_seconds_max=0.1) as consumer,
    ):
        await consumer.until_last(99)
        told = re.findall(r"in ([0-9.]+) s$", "\n".join(consumer.reports), re.MULTILINE)
    seconds = [float(one) for one in told]
    for attempt, waited in enumerate(seconds[:6]):
        least = 0.01 * 2**attempt
        assert min(least, 0.1) <= waited <= min(least + 0.01, 0.1)
    assert 0.01 <= seconds[6] <= 0.02


# Bounds and endings


async def test_a_consumer_that_stops_holds_the_host_back_and_keeps_the_connection() -> None:
    text = "x" * 9_000
    history = [line(number, text=text) for number in range(4_000)]
    total_bytes = sum(map(len, history))
    async with JetstreamServer(history) as server:
        slow = source([server.url], queue_messages_max=100, batch_events_max=50, silent_seconds=0.5)
        async with aclosing(slow.batches(str(T0))) as batches:
            numbers = [event.rkey async for event in events_of(batches, 50)]
            (connection,) = server.connections
            await server.until(lambda: connection.blocked)
            # Our own pause, longer than a host may be silent, is no fault of the host.
            await asyncio.sleep(0.7)
            # With nobody taking anything the host came to a stop, long before its end.
            assert connection.blocked
            assert connection.sent * len(history[0]) < total_bytes / 2
            numbers += [event.rkey async for event in events_of(batches, len(history) - 50)]
    assert numbers == [f"r{number}" for number in range(len(history))]
    assert len(server.connections) == 1


async def events_of(batches: AsyncIterator[Batch], count: int) -> AsyncIterator[Event]:
    while count > 0:
        for event in (await anext(batches)).events:
            yield event
            count -= 1


async def test_the_inbox_is_bounded_in_bytes_too() -> None:
    history = [line(number, text="x" * 9_000) for number in range(500)]
    async with (
        JetstreamServer(history) as server,
        consuming(server, queue_bytes_max=20_000) as consumer,
    ):
        await consumer.until_last(499)
        assert consumer.numbers == list(range(500))
        assert max(batch.message_bytes for batch in consumer.batches) < 20_000 + len(history[0])


async def test_closing_leaves_no_task_and_no_connection() -> None:
    before = asyncio.all_tasks()
    history = [line(number, text="x" * 9_000) for number in range(3_000)]
    async with JetstreamServer(history) as server:
        for cursor in (time_of(0), time_of(2_990)):
            held_back_or_idle = source([server.url], queue_messages_max=10).batches(str(cursor))
            await anext(held_back_or_idle)
            if cursor == time_of(0):
                await server.until(lambda: server.connections[0].blocked)
            await held_back_or_idle.aclose()
            await server.until(lambda: not server.connections[-1].open)
    waiting = source([nobody()], backoff_seconds_min=1000, backoff_seconds_max=1000).batches(None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(waiting), 0.05)
    await waiting.aclose()
    assert asyncio.all_tasks() == before


async def test_closing_before_the_first_batch_is_asked_for() -> None:
    await source([nobody()]).batches(None).aclose()


async def test_what_stops_the_reader_reaches_the_consumer() -> None:
    def broken(line: str) -> None:
        raise RuntimeError("our own trouble")

    async with JetstreamServer(lines(1)) as server:
        batches = source([server.url], report=broken).batches(str(T0))
        with pytest.raises(RuntimeError, match="our own trouble"):
            await anext(batches)
        await batches.aclose()
