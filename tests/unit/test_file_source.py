"""The file source: every line once, from any cursor, whatever the file is packed in."""

from __future__ import annotations

import gzip
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from events.errors import SourceError
from events.event import Batch, Event, Limits, Source, Undecodable, Wanted
from events.sources import file
from events.sources.file import FileSource
from tests.support.corpus import firehose_lines, record_of

LINE = b'{"did":"did:plc:a","time_us":1,"kind":"labels"}'


def gzip_members(raw: bytes) -> bytes:
    middle = len(raw) // 2
    return gzip.compress(raw[:middle]) + gzip.compress(raw[middle:])


def zstd_frames(raw: bytes) -> bytes:
    pack = zstandard.ZstdCompressor().compress
    middle = len(raw) // 2
    return pack(raw[:middle]) + pack(raw[middle:])


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "lines.jsonl": bytes,
    "lines.jsonl.gz": gzip_members,
    "lines.jsonl.zst": zstd_frames,
}

packed = pytest.mark.parametrize("name", PACKERS)


@pytest.fixture(params=[64, 1000, 1024 * 1024], ids=["tiny", "small", "real"])
def chunk_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    size = int(request.param)
    monkeypatch.setattr(file, "CHUNK_BYTES", size)
    return size


def write(folder: Path, name: str, raw: bytes) -> Path:
    path = folder / name
    path.write_bytes(PACKERS[name](raw))
    return path


async def read(source: FileSource, cursor: str | None = None) -> list[Batch]:
    return [batch async for batch in source.batches(cursor)]


def contents(batches: list[Batch]) -> list[Any]:
    """Events and dead letters in the order of their lines."""
    items = [item for batch in batches for item in (*batch.events, *batch.dead)]
    return sorted(items, key=lambda item: int(item.source_cursor))


def mixed() -> bytes:
    """Real lines, and among them what files have besides."""
    lines = firehose_lines()[:40]
    lines[7:7] = [b"", b"   \r", b"", b"nonsense", b'"\xe2\x80\xa8"', b'{"did":"\xff"']
    lines[20:20] = [LINE.replace(b"labels", "la\u2028be\x85ls".encode()), b""]
    return b"\n".join(lines) + b"\n\n"


def ends(raw: bytes) -> list[int]:
    return [at + 1 for at, byte in enumerate(raw) if byte == 10]


@packed
async def test_every_line_is_read_once(tmp_path: Path, name: str, chunk_bytes: int) -> None:
    raw = mixed()
    batches = await read(FileSource(write(tmp_path, name, raw), batch_events=7))
    events = [event for batch in batches for event in batch.events]
    real = firehose_lines()[:40]
    commits = [event.record for event in events if event.kind == "commit"]
    assert commits == [record_of(line) for line in real if b'"commit":{' in line]
    assert [event.action for event in events if event.kind == "unknown"] == ["la\u2028be\x85ls"]
    dead = [dead.raw for batch in batches for dead in batch.dead]
    assert dead == [b"   \r", b"nonsense", b'"\xe2\x80\xa8"', b'{"did":"\xff"']
    assert sum(batch.message_bytes for batch in batches) == len(raw)
    assert batches[-1].cursor == str(len(raw))
    assert max(len(batch.events) + len(batch.dead) for batch in batches) <= 7
    assert {int(batch.cursor) for batch in batches} <= set(ends(raw))


@packed
async def test_a_cursor_is_where_its_line_ends(tmp_path: Path, name: str, chunk_bytes: int) -> None:
    raw = mixed()
    for item in contents(await read(FileSource(write(tmp_path, name, raw), batch_events=7))):
        end = int(item.source_cursor)
        line = raw[:end].removesuffix(b"\n").rpartition(b"\n")[2]
        if isinstance(item, Undecodable):
            assert item.raw == line
        else:
            assert item.did.encode() in line
            assert (item.record or b"") in line


@packed
async def test_resuming_at_every_batch_gives_the_same(
    tmp_path: Path, name: str, chunk_bytes: int
) -> None:
    source = FileSource(write(tmp_path, name, mixed()), batch_events=3)
    batches = await read(source)
    assert len(batches) > 10
    everything = contents(batches)
    done = 0
    for batch in batches:
        done += len(batch.events) + len(batch.dead)
        assert contents(await read(source, batch.cursor)) == everything[done:]
    assert await read(source, batches[-1].cursor) == []


@packed
async def test_a_last_line_without_newline_counts(tmp_path: Path, name: str) -> None:
    raw = LINE + b"\n" + LINE
    source = FileSource(write(tmp_path, name, raw))
    batches = await read(source)
    assert [event.source_cursor for event in contents(batches)] == [
        str(len(LINE) + 1),
        str(len(raw)),
    ]
    assert batches[-1].cursor == str(len(raw))
    assert await read(source, batches[-1].cursor) == []


@packed
async def test_an_empty_file(tmp_path: Path, name: str) -> None:
    assert await read(FileSource(write(tmp_path, name, b""))) == []


@packed
async def test_empty_lines_move_the_cursor(tmp_path: Path, name: str) -> None:
    batches = await read(FileSource(write(tmp_path, name, b"\n" * 10), batch_events=4))
    assert [batch.cursor for batch in batches] == ["4", "8", "10"]
    assert contents(batches) == []


@packed
@pytest.mark.parametrize("last", [b"\n" + LINE + b"\n", b"\n", b""], ids=["more", "end", "open"])
@pytest.mark.parametrize("long_bytes", [201, 999, 1000, 1001, 5000])
async def test_a_line_beyond_the_limit(
    tmp_path: Path, name: str, chunk_bytes: int, long_bytes: int, last: bytes
) -> None:
    long = b'{"long":"' + b"x" * (long_bytes - 9)
    raw = LINE + b"\n" + long + last
    source = FileSource(write(tmp_path, name, raw), limits=Limits(message_bytes_max=200))
    batches = await read(source)
    (dead,) = [item for item in contents(batches) if isinstance(item, Undecodable)]
    assert (dead.reason, dead.raw) == ("too-large", long[:200])
    assert dead.error.startswith(f"{long_bytes} bytes")
    after = len(LINE) + 1 + long_bytes + (1 if last else 0)
    assert dead.source_cursor == str(after)
    assert len(contents(batches)) == (3 if len(last) > 1 else 2)
    assert sum(batch.message_bytes for batch in batches) == len(raw)
    assert batches[-1].cursor == str(len(raw))
    assert contents(await read(source, str(after))) == contents(batches)[2:]


async def test_memory_is_bounded_by_chunk_and_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    keep = FileSource._overlong

    def spy(self: FileSource, stream: Any, head: bytes, position: int) -> tuple[Batch, bytes]:
        seen.append(len(head))
        return keep(self, stream, head, position)

    monkeypatch.setattr(file, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(FileSource, "_overlong", spy)
    path = write(tmp_path, "lines.jsonl.zst", b"x" * 100_000 + b"\n" + LINE)
    batches = await read(FileSource(path, limits=Limits(message_bytes_max=5000)))
    assert seen == [6000]
    assert len(contents(batches)) == 2


async def test_unwanted_collections_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path, "lines.jsonl", b"\n".join(firehose_lines()) + b"\n")
    wanted = FileSource(path, wanted=Wanted(["app.bsky.graph.follow"]))
    follows = sum(b'"collection":"app.bsky.graph.follow"' in line for line in firehose_lines())
    others = sum(b'"commit":{' not in line for line in firehose_lines())
    (batch,) = await read(wanted)
    assert 0 < len(batch.events) == follows + others
    assert batch.skipped == {"unwanted-collection": len(firehose_lines()) - follows - others}


@packed
async def test_a_file_shorter_than_the_cursor(tmp_path: Path, name: str) -> None:
    source = FileSource(write(tmp_path, name, LINE + b"\n"))
    with pytest.raises(SourceError, match="2 bytes shorter than the cursor 50"):
        await read(source, str(len(LINE) + 3))


@pytest.mark.parametrize("cursor", ["", "-1", "1.5", "x", "٣", "9" * 30])
async def test_a_cursor_that_is_no_position(tmp_path: Path, cursor: str) -> None:
    source = FileSource(write(tmp_path, "lines.jsonl", LINE))
    with pytest.raises(SourceError, match="is not a byte position"):
        await read(source, cursor)


@pytest.mark.parametrize("name", ["none.jsonl", "none.jsonl.gz", "none.jsonl.zst"])
async def test_a_missing_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(SourceError, match=f"{name} cannot be read: No such file"):
        await read(FileSource(tmp_path / name))


async def test_a_folder_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="Is a directory"):
        await read(FileSource(tmp_path))


@pytest.mark.parametrize("name", ["lines.jsonl.gz", "lines.jsonl.zst"])
async def test_a_damaged_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(LINE)
    with pytest.raises(SourceError, match="cannot be read"):
        await read(FileSource(path))


async def test_a_gzip_file_that_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file, "CHUNK_BYTES", 100)
    path = write(tmp_path, "lines.jsonl.gz", mixed())
    path.write_bytes(path.read_bytes()[:-20])
    batches = FileSource(path).batches(None)
    assert (await anext(batches)).events
    with pytest.raises(SourceError, match="end-of-stream"):
        assert [batch async for batch in batches]


async def test_name_and_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, "lines.jsonl", LINE + b"\n")
    told: list[str] = []
    source: Source = FileSource("lines.jsonl", report=told.append)
    assert source.name == f"file:{path}"
    assert source.rewinds is False
    assert [batch async for batch in source.batches(None)]
    await source.committed("0")
    assert told == [f"file:{path}: read to its end, byte {len(LINE) + 1}"]


async def test_reading_is_off_the_loop_and_closing_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    threads: set[int] = set()
    really_open = file._open

    def spy(path: Path) -> Any:
        threads.add(threading.get_ident())
        opened.append(really_open(path))
        return opened[-1]

    monkeypatch.setattr(file, "_open", spy)
    path = write(tmp_path, "lines.jsonl", (LINE + b"\n") * 10)
    batches: AsyncGenerator[Batch, None] = FileSource(path, batch_events=2).batches(None)
    first = await anext(batches)
    assert all(isinstance(event, Event) for event in first.events)
    assert not opened[0].closed
    await batches.aclose()
    assert opened[0].closed
    assert threading.get_ident() not in threads
