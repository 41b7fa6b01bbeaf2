"""A small network with records of every collection: what is asked over both databases.

It keeps away from what the reference is known to do oddly (dataplane.md sections 3 and 10): no
post is edited, none is deleted that others refer to, and no more than two records share a claim.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

from events.event import EPOCH
from tests.support.corpus import dag_cbor_cid

Record: TypeAlias = dict[str, Any]
Ref: TypeAlias = dict[str, str]

BEGIN: Final = datetime(2025, 3, 1, 12, tzinfo=UTC)
EVERY: Final = timedelta(seconds=1)
ALPHABET: Final = "234567abcdefghijklmnopqrstuvwxyz"
WORDS: Final = ("rain", "tea", "over", "the", "quiet", "harbour", "we", "saw", "two", "herons")


class World:
    """Events in the making: Jetstream lines, one a second."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lines: list[bytes] = []
        self.now = BEGIN
        """The next event's time."""

    def did(self) -> str:
        """A new account's."""
        return "did:plc:" + "".join(self.random.choices(ALPHABET, k=24))

    def created(self) -> str:
        """A record's own time: a little before it came."""
        at = self.now - timedelta(milliseconds=self.random.randint(1, 900))
        return f"{at:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"

    def text(self) -> str:
        """Some words."""
        return " ".join(self.random.choices(WORDS, k=self.random.randint(1, 12)))

    def blob(self, kind: str) -> Record:
        """An upload, named by what it would hold."""
        digest = hashlib.sha256(self.random.randbytes(8)).digest()
        cid = "b" + base64.b32encode(b"\x01\x55\x12\x20" + digest).decode().lower().rstrip("=")
        return {"$type": "blob", "ref": {"$link": cid}, "mimeType": kind, "size": 1000}

    def put(
        self, did: str, collection: str, record: Record, rkey: str = "", *, update: bool = False
    ) -> Ref:
        """A create, or an update; answers with a strong reference to it."""
        rkey = rkey or tid(self.now)
        full = {"$type": collection, "createdAt": self.created(), **record}
        if collection.endswith("declaration"):
            del full["createdAt"]
        cid = dag_cbor_cid(json.dumps(full).encode())
        self._commit(did, collection, rkey, "update" if update else "create", record=full, cid=cid)
        return {"uri": f"at://{did}/{collection}/{rkey}", "cid": cid}

    def delete(self, ref: Ref) -> None:
        """The record goes."""
        did, collection, rkey = ref["uri"].removeprefix("at://").split("/")
        self._commit(did, collection, rkey, "delete")

    def identity(self, did: str, handle: str) -> None:
        """The account has the handle now."""
        self._add(did, "identity", {"did": did, "handle": handle})

    def account(self, did: str, *, active: bool, status: str | None = None) -> None:
        """The account is in this state now."""
        told = {"did": did, "active": active, **({"status": status} if status else {})}
        self._add(did, "account", told)

    def repo(self, did: str, rev: str, commit: str) -> None:
        """The repo was seen at this revision, with a commit of this CID."""
        self._add(did, "repo", {"rev": rev, "commit": commit})

    def refresh(self, did: str, handle: str) -> None:
        """A commit of the account came, and the network would say this of its handle."""
        self._add(did, "refresh", {"handle": handle})

    def pass_time(self, time: timedelta) -> None:
        """So much later than the event before would be the next."""
        self.now += time - EVERY

    def _commit(self, did: str, collection: str, rkey: str, operation: str, **more: Any) -> None:
        commit = {"rev": tid(self.now), "operation": operation}
        self._add(did, "commit", {**commit, "collection": collection, "rkey": rkey, **more})

    def _add(self, did: str, kind: str, body: Record) -> None:
        if kind in ("identity", "account"):
            time = f"{self.now:%Y-%m-%dT%H:%M:%S}.000Z"
            body = {**body, "seq": len(self.lines) + 1, "time": time}
        event = {"did": did, "time_us": _microseconds(self.now), "kind": kind, kind: body}
        line = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
        self.lines.append(line.encode())
        self.now += EVERY


def _microseconds(at: datetime) -> int:
    return (at - EPOCH) // timedelta(microseconds=1)


def tid(at: datetime) -> str:
    """The identifier that a server would give at that time."""
    number = _microseconds(at) << 10
    return "".join(ALPHABET[number >> shift & 31] for shift in range(60, -1, -5))
