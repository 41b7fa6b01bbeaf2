"""A generated firehose into JSON lines."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import zstandard

from events.jetstream_wire import encode
from events.sources.generate import GenerateSource
from projector.errors import UsageError
from projector.ingest import Progress, Show, show_nothing
from projector.pace import Rate


@contextlib.contextmanager
def opened(path: Path | None) -> Iterator[IO[bytes]]:
    """The file to write to, compressed as its name says; standard output for None."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    with contextlib.ExitStack() as stack:
        try:
            file: IO[bytes] = stack.enter_context(path.open("wb"))
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
        if path.suffix == ".gz":
            file = stack.enter_context(_gzipped(file))
        elif path.suffix == ".zst":
            file = stack.enter_context(
                cast("IO[bytes]", zstandard.ZstdCompressor(3).stream_writer(file))
            )
        yield file


def _gzipped(file: IO[bytes]) -> IO[bytes]:
    return cast("IO[bytes]", gzip.open(file, "wb", compresslevel=3))


async def write_lines(
    source: GenerateSource, path: Path | None, stop: asyncio.Event, show: Show = show_nothing
) -> Progress:
    """Writes the whole of a generated source; says what it did."""
    progress = Progress()
    rate = Rate()
    with opened(path) as file:
        async for batch in source.batches(None):
            data = b"".join(encode(event) + b"\n" for event in batch.events)
            file.write(data)
            progress.events += len(batch.events)
            progress.message_bytes += len(data)
            progress.events_per_second = rate.add(len(batch.events))
            show(progress)
            if stop.is_set():
                break
    return progress
