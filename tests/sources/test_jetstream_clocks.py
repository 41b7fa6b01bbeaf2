"""Jetstream hosts whose clocks disagree, and the positions that come of it."""

from __future__ import annotations

import json

import pytest

from events.sources.jetstream_position import Position
from tests.support.jetstream_consumer import (
    T0,
    consuming,
    drop,
    line,
    lines,
    time_of,
)
from tests.support.jetstream_server import Fault, JetstreamServer

# Clocks


async def test_a_host_that_takes_the_cursor_for_the_future_is_passed_over() -> None:
    async with (
        JetstreamServer(lines(500), now_us=time_of(500)) as behind,
        JetstreamServer(lines(500), faults=[Fault(future=True)]) as error,
        JetstreamServer(lines(700)) as right,
        consuming(behind, error, right, cursor=str(time_of(600))) as consumer,
    ):
        await behind.until(lambda: behind.connections != [] and behind.connections[0].open)
        behind.append(line(500))
        await consumer.until_last(699)
        assert consumer.numbers == list(range(550, 700))
        told = "\n".join(consumer.reports)
        assert "began 5.0 s before what it was asked for" in told
        assert "takes the cursor for the future" in told


@pytest.mark.parametrize("error_frame", [False, True])
async def test_when_all_hosts_are_behind_one_is_asked_by_its_own_clock(error_frame: bool) -> None:
    faults = [Fault(future=True)] if error_frame else []
    async with (
        JetstreamServer(lines(500), faults=faults, now_us=time_of(500)) as server,
        consuming(server, cursor=str(time_of(600)), now_us=lambda: time_of(500)) as consumer,
    ):
        asking = 1 if error_frame else 0
        await server.until(lambda: [c.open for c in server.connections[asking:]] == [True])
        assert server.connections[asking].cursor == (None if error_frame else time_of(550))
        server.append(line(500))
        await consumer.until_last(500)
        # The cursor is 10 s ahead of the host: as far back again, and the usual 5 s.
        assert server.connections[-1].cursor == time_of(350)
        assert consumer.numbers == list(range(350, 501))
        assert consumer.batches[-1].cursor == str(time_of(500))
        await drop(server)
        server.append(line(501))
        await consumer.until_last(501)
        # Within the run its own clock counts.
        assert server.connections[-1].cursor == time_of(450)


async def test_times_that_go_back_lose_nothing_and_the_cursor_goes_with_them() -> None:
    history = [*lines(700, 600), *lines(200)]
    async with (
        JetstreamServer(history) as server,
        consuming(server, cursor=str(time_of(600)), goes_back=True) as consumer,
    ):
        await consumer.until_last(199)
        assert consumer.numbers == [*range(600, 700), *range(200)]
        assert consumer.batches[-1].cursor == str(time_of(199))
        assert "went back" in "\n".join(consumer.reports)


async def test_what_is_read_a_second_time_is_read_to_its_end_whoever_is_restarted() -> None:
    """All of it: half of it would undo what the other half does again."""
    begun_early, to_its_clock = Fault(ignore_cursor=200), Fault(after=10, stall=True)
    async with JetstreamServer(lines(700), faults=[begun_early, to_its_clock]) as server:
        async with consuming(server, cursor=str(time_of(600))) as consumer:
            await consumer.until(lambda: len(consumer.numbers) >= 10)
            first = consumer.numbers[0]
            cursor = consumer.batches[-1].cursor
        async with consuming(server, cursor=cursor) as restarted:
            await restarted.until_last(699)
            assert first < 400
            assert restarted.numbers[0] <= first + 10


def test_the_cursor_is_where_it_is_read_where_that_is_before_what_a_restart_would_read() -> None:
    position = Position(T0, rewind_us=1_000_000, now_us=lambda: T0 + 60_000_000)
    position.request_us()
    position.observe(T0 - 1_000_000)
    assert position.cursor_us == T0  # A restart begins with the same message.
    position.shift(T0 - 10_000_000)
    begun = position.request_us()
    assert begun == T0 - 71_000_000
    position.observe(begun)
    assert position.cursor_us == begun
    position.observe(begun + 30_000_000)
    assert position.cursor_us == begun + 30_000_000
    position.observe(T0 - 1_000_001)
    assert position.cursor_us == T0 - 1_000_001
    position.observe(T0 - 1_000_000)
    assert position.cursor_us == T0
    position.observe(T0 + 1)
    assert position.cursor_us == T0 + 1


@pytest.mark.parametrize("messages", [1, 100])
def test_what_is_read_again_is_read_to_its_end_whose_times_are_not_believed(messages: int) -> None:
    """One message that is far behind is not believed, and none is that is ahead of our clock."""
    second, now_us = 1_000_000, [10_000_000_000]
    position = Position(None, 5 * second, lambda: now_us[0])
    assert position.request_us() is None
    live_us = now_us[0] - 45 * second
    position.observe(live_us)
    assert position.request_us() == live_us - 5 * second
    # The host began early, so it is asked for more: its 2 s, our 45, and the usual 5.
    position.shift(live_us - 7 * second)
    again_us = live_us - (7 + 45 + 5) * second
    assert position.request_us() == again_us
    position.unshift()
    if messages > 1:
        now_us[0] = second
    for number in range(messages):
        position.observe(again_us + number * second // 100)
    assert position.request_us() == again_us
    assert position.cursor_us == again_us


async def test_one_time_out_of_line_moves_nothing() -> None:
    far = json.loads(line(50)) | {"time_us": 200_000_000_000_000_000}
    old = json.loads(line(51)) | {"time_us": 7}
    history = [*lines(50), json.dumps(far).encode(), line(52), json.dumps(old).encode(), line(53)]
    async with JetstreamServer(history) as server, consuming(server) as consumer:
        await consumer.until_last(53)
        assert consumer.numbers == [*range(51), 52, 51, 53]
        assert consumer.batches[-1].cursor == str(time_of(53))


async def test_a_host_ahead_of_our_clock_does_not_take_the_cursor_with_it() -> None:
    async with (
        JetstreamServer(lines(200)) as server,
        consuming(server, now_us=lambda: time_of(100)) as consumer,
    ):
        await consumer.until_last(199)
        assert consumer.numbers == list(range(200))
        # Up to rewind_seconds ahead is no matter: that is how far a resumed connection goes back.
        assert consumer.batches[-1].cursor == str(time_of(150))
        assert "ahead of our clock" in "\n".join(consumer.reports)


def test_a_step_past_what_cannot_be_received_never_asks_for_the_future() -> None:
    position = Position(T0, rewind_us=0, now_us=lambda: T0 + 100)
    asked = []
    for _ in range(50):
        asked.append((position.request_us() or 0) - T0)
        position.stuck()
    assert asked[:10] == [0, 0, 1, 2, 4, 8, 16, 32, 64, 100]
    assert set(asked[10:]) == {100}


def test_the_floor_after_a_step_is_never_above_what_was_received() -> None:
    position = Position(T0, rewind_us=1_000, now_us=lambda: T0 + 10_000)
    for _ in range(10):
        position.stuck()
        position.request_us()
    position.observe(T0 + 5)
    assert position.request_us() == T0 + 5


def test_our_own_downtime_counts_where_the_host_is_behind() -> None:
    position = Position(T0, rewind_us=1_000_000, now_us=lambda: T0 + 60_000_000)
    position.shift(T0 - 10_000_000)
    # Its present, less the minute that we missed, less the rewind.
    assert position.request_us() == T0 - 10_000_000 - 60_000_000 - 1_000_000
    position.unshift()
    assert position.request_us() == T0 - 1_000_000
