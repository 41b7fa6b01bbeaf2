"""The captured and the hostile messages, and what they must come to, told without our code."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from typing import Any

import libipld

from tests.support.shared import require_shared

GOLDEN_SETS = ("graph", "posts", "whole", "redelivered")

_record = re.compile(rb'"record": ?(\{.*\}), ?"cid"', re.DOTALL)


def lines_of(*names: str) -> list[bytes]:
    """The lines of the files of those names, relative to the shared data; `.gz` unpacked."""
    lines: list[bytes] = []
    for name in names:
        path = require_shared() / name
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        lines += [line for line in raw.split(b"\n") if line]
    return lines


def firehose_lines() -> list[bytes]:
    """162 real Jetstream v1 messages."""
    return lines_of("firehose/expected_v1.jsonl", "firehose/golden_v1.jsonl")


def repo_lines() -> list[bytes]:
    """The records of three whole repos, as creates."""
    folder = require_shared() / "repos"
    return lines_of(*sorted(f"repos/{path.name}" for path in folder.glob("*.jsonl")))


def golden_lines(*sets: str) -> list[bytes]:
    """The events of the golden sets, all four where none is named."""
    return lines_of(*(f"golden/{name}/events.jsonl.gz" for name in sets or GOLDEN_SETS))


def hostile_inputs() -> dict[str, bytes]:
    """Id to raw message."""
    told = (json.loads(line) for line in lines_of("hostile/events.jsonl"))
    return {entry["id"]: base64.b64decode(entry["input_b64"]) for entry in told}


def record_of(raw: bytes) -> bytes | None:
    """The record's bytes, found by searching: between its key and the last cid's."""
    found = _record.search(raw)
    return None if found is None else found.group(1)


def dag_cbor_cid(record: bytes) -> str:
    """The CID of a record given as JSON: DAG-CBOR, SHA-256, CIDv1 in base32."""
    digest = hashlib.sha256(libipld.encode_dag_cbor(_to_ipld(json.loads(record)))).digest()
    return "b" + base64.b32encode(b"\x01\x71\x12\x20" + digest).decode().lower().rstrip("=")


def _to_ipld(value: Any) -> Any:
    if isinstance(value, list):
        return [_to_ipld(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$link"}:
        text = value["$link"][1:].upper()
        return base64.b32decode(text + "=" * (-len(text) % 8))
    if value.keys() == {"$bytes"}:
        text = value["$bytes"]
        return base64.b64decode(text + "=" * (-len(text) % 4))
    return {key: _to_ipld(item) for key, item in value.items()}
