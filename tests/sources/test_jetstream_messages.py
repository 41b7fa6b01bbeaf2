"""Messages of a Jetstream host that cannot be read, or not as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from tests.support.jetstream_consumer import (
    HARD_MAX,
    consuming,
    drop,
    line,
    lines,
    reached,
    time_of,
)
from tests.support.jetstream_server import Fault, JetstreamServer

# Messages that cannot be read


async def test_garbage_becomes_dead_letters_and_moves_no_cursor() -> None:
    garbage: list[str | bytes] = [
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


async def test_each_oversized_message_is_recorded_while_nothing_else_has_come() -> None:
    huge = [line(number, text="x" * HARD_MAX) for number in range(2)]
    async with JetstreamServer() as server, consuming(server, cursor=None) as consumer:
        await server.until(lambda: [one.open for one in server.connections] == [True])
        server.append(huge[0])
        await server.until(lambda: [one.open for one in server.connections] == [False, True])
        server.append(huge[1])
        await consumer.until(lambda: len(consumer.dead) == 2)
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
    samples: list[bytes | bytearray | memoryview[int]] = [
        line(number, text=f"some words, and number {number}") for number in range(500)
    ]
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
