"""The Jetstream source against a real server with scripted faults: nothing lost, order kept."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zstandard

from events.errors import SourceError
from events.event import Batch, Event, Limits, Undecodable, Wanted
from events.sources.jetstream import PUBLIC_HOSTS, JetstreamSource, parse_source
from tests.support.jetstream_server import Fault, JetstreamServer
from tests.support.shared import require_shared

T0 = 1_700_000_000_000_000
STEP_US = 100_000
DIDS = [f"did:plc:{letter * 24}" for letter in "abcde"]
HARD_MAX = 100_000


def line(number: int, *, text: str = "hello", collection: str = "app.bsky.feed.post") -> bytes:
    """The number-th event of the network: five repos, ten events a second."""
    commit = {
        "rev": f"3k{number:011}".replace("0", "a").replace("1", "b").replace("8", "c")
        .replace("9", "d"),
        "operation": "create",
        "collection": collection,
        "rkey": f"r{number}",
        "record": {"$type": collection, "text": text, "createdAt": "2026-01-01T00:00:00.000Z"},
        "cid": "bafyreiguce4jh7kcbmof3pmcvasifqtw24b6isakj5ve5ga2b4z4alpc4i",
    }  # fmt: skip
    return json.dumps(
        {"did": DIDS[number % 5], "time_us": time_of(number), "kind": "commit", "commit": commit}
    ).encode()


def time_of(number: int) -> int:
    return T0 + number * STEP_US


def lines(stop: int, start: int = 0) -> list[bytes]:
    return [line(number) for number in range(start, stop)]


class Consumer:
    """Takes a source's batches and keeps them."""

    def __init__(self, source: JetstreamSource, cursor: str | None) -> None:
        self.source = source
        self.cursor = cursor
        self.batches: list[Batch] = []
        self.reports: list[str] = []
        self._arrival = asyncio.Event()

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch.events]

    @property
    def dead(self) -> list[Undecodable]:
        return [dead for batch in self.batches for dead in batch.dead]

    @property
    def numbers(self) -> list[int]:
        """What came, by the number of its line; a repeat counts where it came first."""
        return list(dict.fromkeys(int((event.rkey or "r-1")[1:]) for event in self.events))

    async def run(self) -> None:
        async with aclosing(self.source.batches(self.cursor)) as batches:
            async for batch in batches:
                self.batches.append(batch)
                self._arrival.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._arrival.clear()
            await self._arrival.wait()

    async def until_last(self, number: int) -> None:
        await self.until(lambda: bool(self.events) and self.events[-1].rkey == f"r{number}")


@asynccontextmanager
async def consuming(
    *servers: JetstreamServer | str, cursor: str | None = str(T0), **settings: Any
) -> AsyncIterator[Consumer]:
    """A consumer that runs; afterwards what holds always is checked, and nothing may be left."""
    before = asyncio.all_tasks()
    reports: list[str] = []
    hosts = [server if isinstance(server, str) else server.url for server in servers]
    consumer = Consumer(source(hosts, report=reports.append, **settings), cursor)
    consumer.reports = reports
    running = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert not [task for task in asyncio.all_tasks() - before if "reader" in task.get_name()]
    cursors = [int(batch.cursor) for batch in consumer.batches if batch.cursor]
    assert cursors == sorted(cursors)


def source(hosts: Sequence[str], **settings: Any) -> JetstreamSource:
    return JetstreamSource(
        hosts,
        **{
            "name": "jetstream",
            "wanted": Wanted(),
            "limits": Limits(message_bytes_max=10_000),
            "report": lambda line: None,
            "backoff_seconds_min": 0.005,
            "backoff_seconds_max": 0.02,
            "message_bytes_hard_max": HARD_MAX,
            **settings,
        },
    )


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


def reached(consumer: Consumer, number: int) -> bool:
    return consumer.batches[-1].cursor == str(time_of(number))


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


async def test_repeats_after_a_reconnect_keep_each_repos_order() -> None:
    faults = [Fault(after=150, end="abort"), Fault(ignore_cursor=40)]
    async with JetstreamServer(lines(300), faults=faults) as server, consuming(server) as consumer:
        await consumer.until_last(299)
        assert consumer.numbers == list(range(300))
        again = [int((event.rkey or "")[1:]) for event in consumer.events][150:]
        assert again == list(range(again[0], 300))


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


def nobody() -> str:
    """An address where no one listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"ws://127.0.0.1:{taken.getsockname()[1]}/subscribe"


# Messages that cannot be read


async def test_garbage_becomes_dead_letters_and_moves_no_cursor() -> None:
    garbage = [
        "not json",
        "{}",
        b"\x00\x01binary",
        b"\x28\xb5\x2f\xfdzz",
        line(9, text="x" * 20000),
    ]
    async with (
        JetstreamServer(lines(10), faults=[Fault(after=10, inject=garbage)]) as server,
        consuming(server) as consumer,
    ):
        await consumer.until(lambda: len(consumer.dead) == len(garbage))
        for dead, sent in zip(consumer.dead, garbage, strict=True):
            assert (sent.encode() if isinstance(sent, str) else sent).startswith(dead.raw)
        assert [dead.reason for dead in consumer.dead][3:] == ["compressed", "too-large"]
        assert consumer.batches[-1].cursor == str(time_of(9))
        server.append(line(10))
        await consumer.until_last(10)
    assert len(server.connections) == 1


async def test_invalid_utf8_in_a_text_message_does_not_end_the_connection() -> None:
    async with (
        JetstreamServer([line(0), b'{"did":"\xff"}'.join([b"", b""]), line(1)]) as server,
        consuming(server) as consumer,
    ):
        await consumer.until_last(1)
        assert [dead.raw for dead in consumer.dead] == [b'{"did":"\xff"}']
    assert len(server.connections) == 1


async def test_dead_letters_alone_come_with_an_empty_cursor_while_none_is_known() -> None:
    async with (
        JetstreamServer(faults=[Fault(inject=["nonsense"])]) as server,
        consuming(server, cursor="") as consumer,
    ):
        await consumer.until(lambda: consumer.dead != [])
        assert consumer.batches[0].cursor == ""


async def test_a_message_beyond_the_hard_limit_is_recorded_once_and_passed() -> None:
    history = lines(100)
    history[60] = line(60, text="x" * HARD_MAX)
    async with JetstreamServer(history) as server, consuming(server) as consumer:
        await consumer.until_last(99)
        assert consumer.numbers == [number for number in range(100) if number != 60]
        (dead,) = consumer.dead
        assert (dead.raw, dead.reason) == (b"", "too-large")
        assert dead.source_cursor == str(time_of(59))
        # Between two messages lie 100 ms, which 18 doublings of a microsecond reach.
        assert len(server.connections) <= 21
        attempts = len(server.connections)
        await consumer.until(lambda: reached(consumer, 99))
        assert "more than 100000 bytes" in "\n".join(consumer.reports)
    assert len(server.connections) == attempts


async def test_a_rewind_does_not_run_into_the_same_oversized_message_again() -> None:
    history = lines(100)
    history[60] = line(60, text="x" * HARD_MAX)
    async with JetstreamServer(history) as server, consuming(server) as consumer:
        await consumer.until_last(99)
        attempts = len(server.connections)
        server.faults = []
        await drop(server)
        server.append(line(100))
        await consumer.until_last(100)
        assert len(consumer.dead) == 1
        assert len(server.connections) == attempts + 1
        assert consumer.numbers == [number for number in range(101) if number != 60]


async def drop(server: JetstreamServer) -> None:
    """Ends the live connections, and waits until they are gone."""
    server.drop_all()
    await server.until(lambda: not any(connection.open for connection in server.connections[:-1]))


async def test_each_oversized_message_is_recorded_while_nothing_else_has_come() -> None:
    async with JetstreamServer() as server, consuming(server, cursor=None) as consumer:
        for number in range(2):
            await server.until(
                lambda: server.connections[-1:] != [] and server.connections[-1].open
            )
            server.append(line(number, text="x" * HARD_MAX))
            await consumer.until(lambda count=number + 1: len(consumer.dead) == count)
            await server.until(lambda count=number + 2: len(server.connections) == count)
        assert [dead.source_cursor for dead in consumer.dead] == ["", ""]


async def test_an_error_frame_is_reported_and_is_no_dead_letter() -> None:
    frame = '{"$type": "error", "error": "ConsumerTooSlow", "message": "come\\nback"}'
    faults = [Fault(after=5, inject=[frame], end="close")]
    async with JetstreamServer(lines(20), faults=faults) as server, consuming(server) as consumer:
        await consumer.until_last(19)
        assert consumer.dead == []
        assert sum(batch.skipped["host-error"] for batch in consumer.batches) == 1
        assert "says ConsumerTooSlow: come back" in "\n".join(consumer.reports)


# Compression


def dictionary_file(folder: Path) -> tuple[Path, bytes]:
    samples = [line(number, text=f"some words, and number {number}") for number in range(500)]
    dictionary = zstandard.train_dictionary(2048, samples).as_bytes()
    path = folder / "dictionary"
    path.write_bytes(dictionary)
    return path, dictionary


async def test_compressed_messages_with_a_dictionary(tmp_path: Path) -> None:
    path, dictionary = dictionary_file(tmp_path)
    async with (
        JetstreamServer(lines(100), dictionary=dictionary) as server,
        consuming(server, zstd_dictionary=path) as consumer,
    ):
        await consumer.until_last(99)
        assert consumer.numbers == list(range(100))
        sizes = sum(batch.message_bytes for batch in consumer.batches)
        assert sizes < sum(map(len, server.lines))
    assert server.connections[0].query["compress"] == ["true"]
    assert "Sec-WebSocket-Extensions" not in server.connections[0].headers


@pytest.mark.parametrize("stated", [True, False])
async def test_a_bad_or_huge_frame_is_a_dead_letter(tmp_path: Path, stated: bool) -> None:
    path, dictionary = dictionary_file(tmp_path)
    pack = zstandard.ZstdCompressor(
        dict_data=zstandard.ZstdCompressionDict(dictionary), write_content_size=stated
    ).compress
    huge, good = pack(b" " * 10_000_000), pack(line(10))
    frames = [huge, good[:-9], b"\x28\xb5\x2f\xfd", pack(b"nonsense"), good]
    async with (
        JetstreamServer(
            lines(10), dictionary=dictionary, faults=[Fault(after=10, inject=frames)]
        ) as server,
        consuming(server, zstd_dictionary=path) as consumer,
    ):
        await consumer.until_last(10)
        assert [dead.raw for dead in consumer.dead[:3]] == frames[:3]
        reasons = [dead.reason for dead in consumer.dead]
        assert reasons == ["too-large", "bad-zstd", "bad-zstd", "malformed"]
        assert consumer.numbers == list(range(11))
    assert len(server.connections) == 1


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
        assert consumer.batches[-1].cursor == str(time_of(600))
        await drop(server)
        server.append(line(501))
        await consumer.until_last(501)
        # Within the run its own clock counts.
        assert server.connections[-1].cursor == time_of(450)


async def test_times_that_go_back_lose_nothing_and_the_cursor_stays() -> None:
    history = [*lines(700, 600), *lines(200)]
    async with (
        JetstreamServer(history) as server,
        consuming(server, cursor=str(time_of(600))) as consumer,
    ):
        await consumer.until_last(199)
        assert consumer.numbers == [*range(600, 700), *range(200)]
        assert consumer.batches[-1].cursor == str(time_of(699))
        assert "went back" in "\n".join(consumer.reports)


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


# Bounds and endings


async def test_a_consumer_that_stops_holds_the_host_back_and_keeps_the_connection() -> None:
    text = "x" * 9_000
    history = [line(number, text=text) for number in range(6_000)]
    total_bytes = sum(map(len, history))
    async with JetstreamServer(history) as server:
        slow = source([server.url], queue_messages_max=100, batch_events_max=50, silent_seconds=0.2)
        async with aclosing(slow.batches(str(T0))) as batches:
            numbers = [event.rkey async for event in events_of(batches, 50)]
            (connection,) = server.connections
            # With nobody taking anything the host comes to a stop, long before its end.
            await server.until(lambda: connection.blocked)
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


async def test_closing_while_idle_held_back_or_waiting_leaves_nothing() -> None:
    before = asyncio.all_tasks()
    async with JetstreamServer(lines(1)) as server:
        idle = source([server.url]).batches(str(T0))
        await anext(idle)
        await idle.aclose()
        await server.until(lambda: not server.connections[0].open)
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


# Names and addresses


def test_the_public_hosts() -> None:
    assert parse_source("jetstream") == ("jetstream", PUBLIC_HOSTS)
    assert sorted(PUBLIC_HOSTS) == [
        "wss://jetstream1.us-east.bsky.network/subscribe",
        "wss://jetstream1.us-west.bsky.network/subscribe",
        "wss://jetstream2.us-east.bsky.network/subscribe",
        "wss://jetstream2.us-west.bsky.network/subscribe",
    ]


def test_a_name_tells_no_secrets_and_no_options() -> None:
    url = "wss://user:secret@example.com:8443/subscribe?wantedDids=did:web:a.com"
    assert parse_source(url) == ("wss://example.com:8443/subscribe", (url,))
    assert parse_source("ws://localhost")[0] == "ws://localhost/subscribe"


@pytest.mark.parametrize(
    "text", ["", "jetstreams", "https://a.com", "wss://", "ws://a:b:c", "ws://[a", "ws://user@a"]
)
def test_other_texts_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(SourceError, match="a Jetstream source is"):
        parse_source(text)


@pytest.mark.parametrize(
    ("query", "settings", "cause"),
    [
        ("?requireHello=true", {}, "requireHello"),
        ("?compress=true", {}, "dictionary"),
        ("?cursor=yesterday", {}, "not a time"),
        ("", {"zstd_dictionary": Path(os.devnull) / "none"}, "cannot be read"),
        ("", {"queue_messages_max": 0}, "at least 1"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    query: str, settings: dict[str, Any], cause: str
) -> None:
    with pytest.raises(SourceError, match=cause):
        source(["wss://user:secret@example.com/subscribe" + query], **settings)


async def test_a_cursor_that_is_no_number_is_refused() -> None:
    with pytest.raises(SourceError, match="not a time"):
        await anext(source([nobody()]).batches("12-0"))


async def test_a_cursor_in_the_address_counts_only_without_a_saved_one() -> None:
    async with JetstreamServer(lines(100)) as server:
        url = f"{server.url}?cursor={time_of(80)}"
        async with consuming(url, cursor=None, rewind_seconds=0) as consumer:
            await consumer.until_last(99)
        async with consuming(url, cursor=str(time_of(90)), rewind_seconds=0) as consumer:
            await consumer.until_last(99)
    assert [one.query["cursor"] for one in server.connections] == [
        [str(time_of(80))],
        [str(time_of(90))],
    ]


async def test_it_is_a_source_that_rewinds_and_keeps_its_credentials_to_itself() -> None:
    async with JetstreamServer(lines(10)) as server:
        url = server.url.replace("ws://", "ws://user:secret@")
        async with consuming(url, name=parse_source(url)[0]) as consumer:
            await consumer.until_last(9)
            await consumer.source.committed("1")
            assert consumer.source.rewinds
            assert "secret" not in consumer.source.name + "".join(consumer.reports)
    assert server.connections[0].headers["Authorization"].startswith("Basic ")
