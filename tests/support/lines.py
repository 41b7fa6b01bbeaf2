"""Jetstream lines made by hand, for what a generated firehose does not have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.records import CID, DID

TIME_US = 1_731_824_491_461_334


def tid(number: int) -> str:
    """A record key or revision; a larger number sorts later."""
    return "3lb4rb2" + f"{number:06d}".translate(str.maketrans("0123456789", "234567abcd"))


def commit(
    number: int,
    record: dict[str, Any] | None,
    *,
    rkey: str = "3lb4rbqitunyc",
    collection: str = "app.bsky.graph.follow",
    did: str = DID,
) -> bytes:
    """The `number`th message: a create of the record, or a delete where there is none."""
    operation: dict[str, Any] = {"rev": tid(number), "collection": collection, "rkey": rkey}
    if record is None:
        operation["operation"] = "delete"
    else:
        operation |= {"operation": "create", "record": record, "cid": CID}
    message = {"did": did, "time_us": TIME_US + number, "kind": "commit", "commit": operation}
    return json.dumps(message).encode()


def nested(levels: int) -> Any:
    """Lists within lists."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def write(path: Path, lines: Sequence[bytes]) -> str:
    """Writes a file; returns how it is named as a source."""
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return f"file:{path}"
