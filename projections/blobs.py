"""Blobs: what a record says of a file that is kept beside it."""

from __future__ import annotations

import re
from typing import Literal

from msgspec import UNSET, Struct, UnsetType, field

from projections.lexicon import Natural, invalid

AVATAR_BYTES_MAX = 1_000_000

# CIDv1, raw, sha-256: the only form a blob's link may have.
_is_blob_cid = re.compile("bafkrei[a-h][a-z2-7]{50}[aeimquy4]").fullmatch


class Link(Struct, gc=False, forbid_unknown_fields=True):
    """A CID as JSON writes it."""

    link: str = field(name="$link")


class Blob(Struct, gc=False, forbid_unknown_fields=True):
    """A reference to a file; `size` in bytes. The older form without `$type` does not pass."""

    type: Literal["blob"] = field(name="$type")
    ref: Link
    mimeType: str
    size: Natural


def check_blob(blob: Blob, path: str, accept: str, bytes_max: int) -> None:
    """Raises unless it is a file of that kind and size; `accept` is a MIME type, or its first half
    with the slash."""
    mime = blob.mimeType
    if mime != accept and not (accept[-1] == "/" and mime.startswith(accept)):
        raise invalid(f"Expected {accept}", mime, f"{path}.mimeType")
    if blob.size > bytes_max:
        raise invalid(f"Expected at most {bytes_max} bytes", str(blob.size), f"{path}.size")
    if not _is_blob_cid(blob.ref.link):
        raise invalid("Expected a CID of raw bytes", blob.ref.link, f"{path}.ref")


def avatar_cid(blob: Blob | UnsetType, path: str) -> str | None:
    """The CID of a checked PNG or JPEG; None where there is none."""
    if blob is UNSET:
        return None
    if blob.mimeType != "image/jpeg":
        check_blob(blob, path, "image/png", AVATAR_BYTES_MAX)
    else:
        check_blob(blob, path, "image/jpeg", AVATAR_BYTES_MAX)
    return blob.ref.link
