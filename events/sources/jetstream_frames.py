"""From one websocket message of a Jetstream host to what it says and when."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import zstandard

from events.errors import SourceError
from events.event import Decoded, Event, Limits, Skipped, Undecodable, Wanted
from events.jetstream_wire import JetstreamDecoder

ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
"""How every zstd frame begins, and no JSON: so text and binary messages need no telling apart."""

DICTIONARY_BYTES_MAX: Final = 16 * 1024 * 1024


class _Stamp(msgspec.Struct):
    time_us: int


class _HostError(msgspec.Struct):
    error: str
    message: str = ""
    did: str | None = None


_MALFORMED: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
_stamp = msgspec.json.Decoder(_Stamp).decode
_host_error = msgspec.json.Decoder(_HostError).decode


def read_dictionary(path: Path) -> zstandard.ZstdCompressionDict:
    """Jetstream's zstd dictionary from a file. SourceError where it cannot be read."""
    try:
        if path.stat().st_size > DICTIONARY_BYTES_MAX:
            raise SourceError(f"the zstd dictionary {path} is larger than {DICTIONARY_BYTES_MAX}")
        return zstandard.ZstdCompressionDict(path.read_bytes())
    except OSError as error:
        raise SourceError(f"the zstd dictionary {path} cannot be read: {error}") from error


class FrameDecoder:
    """Decodes messages, compressed ones when there is a dictionary. Never raises."""

    def __init__(
        self, limits: Limits, wanted: Wanted, dictionary: zstandard.ZstdCompressionDict | None
    ) -> None:
        self._message_bytes_max = limits.message_bytes_max
        self._decode = JetstreamDecoder(limits, wanted).decode
        self._zstd = None if dictionary is None else zstandard.ZstdDecompressor(dictionary)

    def decode(self, raw: bytes) -> tuple[Decoded, int | None]:
        """What the message says, and its time in microseconds since 1970 where that is known."""
        if raw.startswith(ZSTD_MAGIC):
            unpacked = self._decompress(raw)
            if not isinstance(unpacked, bytes):
                return unpacked, None
            raw = unpacked
        decoded = self._decode(raw)
        if type(decoded) is Event:
            return decoded, int(decoded.source_cursor)
        if type(decoded) is Skipped:
            return decoded, _time_us(raw)
        return decoded, None

    def _decompress(self, raw: bytes) -> bytes | Undecodable:
        if self._zstd is None:
            return Undecodable(raw, "compressed", "a zstd frame, but no dictionary is configured")
        bytes_max = self._message_bytes_max
        try:
            # The library heeds max_output_size only in frames that do not state their size.
            stated_bytes = zstandard.frame_content_size(raw)
            if stated_bytes > bytes_max:
                return _too_large(raw, f"{stated_bytes} bytes", bytes_max)
            return self._zstd.decompress(raw, max_output_size=bytes_max, allow_extra_data=False)
        except zstandard.ZstdError as error:
            if self._is_larger(raw, bytes_max):
                return _too_large(raw, "more", bytes_max)
            return Undecodable(raw, "bad-zstd", str(error))

    def _is_larger(self, raw: bytes, bytes_max: int) -> bool:
        assert self._zstd is not None
        try:
            with self._zstd.stream_reader(raw) as reader:
                return len(reader.read(bytes_max + 1)) > bytes_max
        except zstandard.ZstdError:
            return False


def host_error(decoded: Decoded) -> str | None:
    """What a host's error frame (`{"error": …, "message": …}`) says, on one line; None: it is none.

    The public v1 hosts send none; relays and hosts of the later protocol do, before they close.
    """
    if type(decoded) is not Undecodable or b'"error"' not in decoded.raw[:4096]:
        return None
    try:
        told = _host_error(decoded.raw)
    except _MALFORMED:
        return None
    return None if told.did is not None else one_line(f"{told.error}: {told.message}")


def one_line(text: str, chars_max: int = 300) -> str:
    """What others wrote, as a report can hold it: without line ends, and cut."""
    return " ".join(text.split())[:chars_max]


def _time_us(raw: bytes) -> int | None:
    try:
        return _stamp(raw).time_us
    except _MALFORMED:
        return None


def _too_large(raw: bytes, size: str, bytes_max: int) -> Undecodable:
    return Undecodable(raw, "too-large", f"unpacks to {size}, the limit is {bytes_max} bytes")
