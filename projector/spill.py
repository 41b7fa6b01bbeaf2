"""Spill: more records than fit into memory, on disk, so that those of one account come together."""

from __future__ import annotations

import tempfile
import zlib
from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

import msgspec
import zstandard

BUCKETS_MAX: Final = 128
"""The most buckets of one spill; what does not fit then is split once more."""

BLOCK_RECORDS: Final = 500
"""How many records of a bucket are held before they are written: 128 times that many at most."""

_decode = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode
_encode = msgspec.msgpack.Encoder().encode


class Spill:
    """Records by account, in buckets by a hash of it; those of a bucket keep their order.

    The file has no name: it is gone with the process, however that ends. `spread` is how many
    buckets the hash was used for before, by the spill that is split into this one.
    """

    def __init__(self, folder: Path | None, buckets: int, *, spread: int = 1) -> None:
        self.buckets = min(max(buckets, 1), BUCKETS_MAX)
        self.spread = spread
        self.counts = [0] * self.buckets
        self.bytes = 0
        with ExitStack() as opened:
            self._file: IO[bytes] = opened.enter_context(tempfile.TemporaryFile(dir=folder))
            self._open = opened.pop_all()
        self._held: list[list[tuple[object, ...]]] = [[] for _ in range(self.buckets)]
        self._places = [array("Q") for _ in range(self.buckets)]
        self._compress = zstandard.ZstdCompressor(level=1).compress
        self._decompress = zstandard.ZstdDecompressor().decompress

    def put(self, did: str, record: tuple[object, ...]) -> None:
        """Adds a record of an account: texts, numbers, bytes and None."""
        bucket = zlib.crc32(did.encode()) // self.spread % self.buckets
        held = self._held[bucket]
        held.append(record)
        if len(held) >= BLOCK_RECORDS:
            self._write(bucket)

    def _write(self, bucket: int) -> None:
        held = self._held[bucket]
        block = self._compress(_encode(held))
        self._places[bucket].extend((self.bytes, len(block)))
        self._file.seek(self.bytes)
        self._file.write(block)
        self.bytes += len(block)
        self.counts[bucket] += len(held)
        self._held[bucket] = []

    def finish(self) -> None:
        """Writes what is held; to be called before anything is read."""
        for bucket, held in enumerate(self._held):
            if held:
                self._write(bucket)

    def read(self, bucket: int) -> Iterator[tuple[Any, ...]]:
        """The records of a bucket, in the order in which they were put."""
        places = iter(self._places[bucket])
        for place, size in zip(places, places, strict=True):
            self._file.seek(place)
            yield from _decode(self._decompress(self._file.read(size)))

    def close(self) -> None:
        """Gives the disk back."""
        self._open.close()
