"""Identifiers for generated events: DIDs, TIDs and CIDs as the protocol spells them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256, shake_128

import libipld

_ALPHABET = "234567abcdefghijklmnopqrstuvwxyz"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
_DAG_CBOR_SHA256 = b"\x01\x71\x12\x20"
_RAW_SHA256 = b"\x01\x55\x12\x20"
_DID_BYTES = 15  # 120 bits are exactly the 24 base32 characters of a did:plc
_multibase: Callable[[str, bytes], str] = libipld.encode_multibase


def did_of(entropy: bytes) -> str:
    """The did:plc of 15 bytes."""
    return "did:plc:" + _multibase("b", entropy)[1:]


def dids(seed: int, count: int) -> list[str]:
    """The DIDs of the first `count` accounts of a seed; a larger count only adds to them."""
    entropy = shake_128(b"accounts %d" % seed).digest(_DID_BYTES * count)
    return [did_of(entropy[at : at + _DID_BYTES]) for at in range(0, len(entropy), _DID_BYTES)]


def record_cid(record: bytes) -> str:
    """A CIDv1 (dag-cbor, sha2-256) that is a function of the record's JSON.

    It is the digest of the JSON bytes, not of the DAG-CBOR form as in a real repo: it parses and
    differs where the record differs, but does not verify.
    """
    return _multibase("b", _DAG_CBOR_SHA256 + sha256(record).digest())


def blob_cid(content: bytes) -> str:
    """The CIDv1 (raw, sha2-256) of a blob."""
    return _multibase("b", _RAW_SHA256 + sha256(content).digest())


def tid(time_us: int, clock: str) -> str:
    """The TID of a time in microseconds since 1970.

    `clock` is the clock id, two characters of the TID alphabet. The order of TIDs with one clock
    id is the order of their times.
    """
    middle, low = _PAIRS[time_us >> 10 & 1023], _PAIRS[time_us & 1023]
    return f"{_high(time_us >> 20)}{middle}{low}{clock}"


@lru_cache(maxsize=1024)
def _high(bits: int) -> str:
    """The first seven characters of a TID: they change about once a second."""
    pairs = _PAIRS[(bits >> 20) & 1023], _PAIRS[(bits >> 10) & 1023], _PAIRS[bits & 1023]
    return _ALPHABET[bits >> 30] + "".join(pairs)
