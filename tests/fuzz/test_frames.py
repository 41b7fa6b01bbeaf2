"""Jetstream's compressed frames: nothing raises, and nothing unpacks beyond the limit."""

from __future__ import annotations

import functools

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event, Undecodable, Wanted
from events.sources.jetstream_frames import ZSTD_MAGIC, FrameDecoder, host_error
from tests.fuzz.mutations import any_bytes, edited, edits, real_messages
from tests.fuzz.properties import LIMITS, SLUG, assert_documented, bounded
from tests.support.histories import budget

MIB = 1 << 20


@functools.cache
def dictionary() -> zstandard.ZstdCompressionDict:
    samples: list[bytes | bytearray | memoryview[int]] = [*real_messages()] * 5
    return zstandard.train_dictionary(4096, samples)


@functools.cache
def decoder() -> FrameDecoder:
    return FrameDecoder(LIMITS, Wanted(), dictionary())


@functools.cache
def packer(stated: bool) -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(dict_data=dictionary(), write_content_size=stated)


@budget(300)
@given(
    raw=st.deferred(lambda: any_bytes(real_messages())),
    stated=st.booleans(),
    damage=st.just([]) | edits,
)
def test_any_frame(raw: bytes, stated: bool, damage: list[tuple[str, float, int, bytes]]) -> None:
    frame = edited(packer(stated).compress(raw), damage)
    decoded, time_us = decoder().decode(frame)
    assert (time_us is None) <= (not isinstance(decoded, Event))
    if frame == packer(stated).compress(raw) and len(raw) <= LIMITS.message_bytes_max:
        assert_documented(decoded, raw)
    elif isinstance(decoded, Undecodable):
        assert SLUG(decoded.reason)
        # The message as it came, unless it is of what a frame unpacks to.
        assert decoded.raw == frame[: LIMITS.message_bytes_max] or frame.startswith(ZSTD_MAGIC)
    host_error(decoded)


@budget(50)
@given(raw=st.deferred(lambda: any_bytes(real_messages())))
def test_a_frame_without_a_dictionary_is_kept(raw: bytes) -> None:
    frame = packer(True).compress(raw)
    decoded, _ = FrameDecoder(LIMITS, Wanted(), None).decode(frame)
    assert isinstance(decoded, Undecodable)
    assert (decoded.raw, decoded.reason) == (frame, "compressed")


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize("frames", [1, 3])
def test_a_frame_unpacks_to_no_more_than_the_limit(stated: bool, frames: int) -> None:
    """A kilobyte that states 64 MiB, or states nothing; and several frames in one message."""
    frame = packer(stated).compress(b" " * (64 * MIB)) * frames
    assert len(frame) < 32_000
    with bounded(seconds=2, bytes_max=4 * MIB):
        decoded, _ = decoder().decode(frame)
    assert isinstance(decoded, Undecodable)
    assert decoded.raw == frame
    assert decoded.reason in {"too-large", "bad-zstd"}
