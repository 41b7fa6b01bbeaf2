"""Jetstream lines from a file, plain or compressed; the cursor is a decompressed byte position."""

from __future__ import annotations

import asyncio
import gzip
import io
import re
import zlib
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final, Protocol

import zstandard

from events.errors import SourceError
from events.event import Batch, Limits, Report, Undecodable, Wanted
from events.jetstream_wire import JetstreamDecoder

CHUNK_BYTES: Final = 4 * 1024 * 1024
UNREADABLE: Final = (OSError, EOFError, zlib.error, zstandard.ZstdError)


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def close(self) -> None: ...


class FileSource:
    """Reads `.gz` and `.zst` by their suffix, anything else as it is; then ends.

    A cursor is the decimal position after a line and its newline, in decompressed bytes: a plain
    file is sought there, a compressed one read up to there. Holds one chunk and one line at most,
    whatever the file's size. Raises SourceError for a file that is missing, unreadable, damaged, or
    shorter than the cursor. A `.zst` file that breaks off in mid-frame just ends there.
    """

    rewinds = False

    def __init__(
        self,
        path: str | Path,
        *,
        limits: Limits | None = None,
        wanted: Wanted | None = None,
        batch_events: int = 1000,
        report: Report | None = None,
    ) -> None:
        if batch_events < 1:
            raise ValueError("batch_events must be at least 1")
        self.path = Path(path).absolute()
        self.name = f"file:{self.path}"
        self._limits = limits or Limits()
        self._decoder = JetstreamDecoder(self._limits, wanted)
        # Either some whole lines, or the file's last one where it has no newline.
        self._some_lines = re.compile(rb"(?:[^\n]*+\n){1,%d}+|[^\n]++\Z" % batch_events)
        self._report = report

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        """Yields batches of at most `batch_events` lines after `cursor`, to the end of the file."""
        batches = self._read(self._position(cursor))
        loop = asyncio.get_running_loop()
        # One thread only, so that closing waits for a read that a cancelled reader left under way.
        thread = ThreadPoolExecutor(1, thread_name_prefix="file-source")
        try:
            while batch := await loop.run_in_executor(thread, next, batches, None):
                cursor = batch.cursor
                yield batch
        finally:
            closed = loop.run_in_executor(thread, batches.close)
            thread.shutdown(wait=False)
            await closed
        if self._report is not None:
            self._report(f"{self.name}: read to its end, byte {cursor or 0}")

    async def committed(self, cursor: str) -> None:
        """Nothing to do: the file stays as it is."""

    def _position(self, cursor: str | None) -> int:
        if cursor is None:
            return 0
        if not (cursor.isascii() and cursor.isdigit() and len(cursor) < 20):
            raise SourceError(f"{self.path}: the cursor {cursor[:40]!r} is not a byte position")
        return int(cursor)

    def _read(self, start: int) -> Generator[Batch, None, None]:
        try:
            with closing(_open(self.path)) as stream:
                _go_to(stream, start, self.path)
                yield from self._batches(stream, start)
        except UNREADABLE as error:
            cause = getattr(error, "strerror", None) or error
            raise SourceError(f"{self.path} cannot be read: {cause}") from error

    def _batches(self, stream: _Stream, position: int) -> Iterator[Batch]:
        rest = b""
        while chunk := stream.read(CHUNK_BYTES):
            data = rest + chunk
            whole = data.rfind(b"\n") + 1
            if not whole and len(data) > self._limits.message_bytes_max:
                batch, rest = self._overlong(stream, data, position)
                yield batch
                position = int(batch.cursor)
                continue
            yield from self._decode(data[:whole], position)
            position += whole
            rest = data[whole:]
        yield from self._decode(rest, position)

    def _decode(self, lines: bytes, position: int) -> Iterator[Batch]:
        for found in self._some_lines.finditer(lines):
            some = found.group()
            batch = Batch(str(position + found.end()), message_bytes=len(some))
            for decoded in self._decoder.decode_lines(some, position + found.start()):
                batch.add(decoded)
            yield batch

    def _overlong(self, stream: _Stream, head: bytes, position: int) -> tuple[Batch, bytes]:
        """Passes over a line that does not fit; keeps its head. Also returns what came after it."""
        limit = self._limits.message_bytes_max
        head, line_bytes, newline, rest = head[:limit], len(head), b"", b""
        while not newline and (chunk := stream.read(CHUNK_BYTES)):
            line, newline, rest = chunk.partition(b"\n")
            line_bytes += len(line)
        passed_bytes = line_bytes + len(newline)
        cursor = str(position + passed_bytes)
        error = f"{line_bytes} bytes, the limit is {limit}"
        dead = [Undecodable(head, "too-large", error, cursor)]
        return Batch(cursor, dead=dead, message_bytes=passed_bytes), rest


def _open(path: Path) -> _Stream:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".zst":
        decompressor = zstandard.ZstdDecompressor()
        return decompressor.stream_reader(path.open("rb"), read_across_frames=True, closefd=True)
    return path.open("rb")


def _go_to(stream: _Stream, start: int, path: Path) -> None:
    if isinstance(stream, io.BufferedReader) and stream.seekable():
        missing_bytes = start - stream.seek(0, io.SEEK_END)
        stream.seek(start)
    else:
        missing_bytes = start
        while missing_bytes and (passed := stream.read(min(missing_bytes, CHUNK_BYTES))):
            missing_bytes -= len(passed)
    if missing_bytes > 0:
        raise SourceError(f"{path} is {missing_bytes} bytes shorter than the cursor {start}")
