"""What every wire form has in common: the checks that make a parsed message an event."""

from __future__ import annotations

import re

import msgspec

from events.event import (
    TIME_US_MAX,
    Decoded,
    Event,
    Limits,
    Skipped,
    Undecodable,
    Wanted,
)
from events.json_text import NOTHING, is_nested_deeper, on_one_line
from events.syntax import is_did, is_nsid, is_record_key

ACTION_CHARS_MAX = 64
TEXT_CHARS_MAX = 256
COLLECTIONS_REMEMBERED_MAX = 10_000
SYNC_ACTIONS = {"sync": "reset", "repo": "backfilled"}
"""What the two messages about a whole repo mean; `repo` is rsky's, and ours on Jetstream lines."""

UNWANTED = Skipped("unwanted-collection")

# What nearly all commits have, in one look: a did:plc, a TID as record key and one as revision, and
# the CID of a record, or none. The others are looked at one by one.
_are_usual = re.compile(
    "did:plc:[a-z2-7]{24} [2-7a-z]{13} [2-7a-z]{13} (?:bafyrei[a-z2-7]{52}|None)"
).fullmatch


def _none_is(_: str) -> None:
    return None


_status = re.compile(r"[a-z][a-z0-9_-]{0,63}").fullmatch


def account_action(active: bool, status: str | None) -> str | None:
    """An account event's action; None where the status is no short word or contradicts `active`."""
    if active:
        return "active"
    if status is None:
        return "inactive"
    status = status.lower()
    return status if status != "active" and _status(status) is not None else None


class Operation(msgspec.Struct, gc=False):
    """The parts of a commit message that tell of its record, as parsed; nothing is checked yet."""

    operation: str
    collection: str
    rkey: str
    rev: str | None = None
    cid: str | None = None
    record: msgspec.Raw = NOTHING


class Checks:
    """Turns the parsed parts of a message into an event, or says why not.

    Every method takes the message's raw bytes and the source cursor first, for a dead letter.
    """

    def __init__(self, limits: Limits, wanted: Wanted) -> None:
        self.limits = limits
        self.wanted = wanted
        self._collections: dict[str, bool] = {}
        fit = limits.did_bytes_max >= 32 and limits.rkey_bytes_max >= 13
        self._are_usual = _are_usual if fit else _none_is

    def dead(self, raw: bytes, cursor: str, reason: str, error: str) -> Undecodable:
        """A dead letter; its raw bytes are cut off at the limit."""
        return Undecodable(raw[: self.limits.message_bytes_max], reason, error, cursor)

    def too_large(self, raw: bytes, cursor: str) -> Undecodable:
        """The dead letter of a message beyond `message_bytes_max`."""
        limit = self.limits.message_bytes_max
        return self.dead(raw, cursor, "too-large", f"{len(raw)} bytes, the limit is {limit}")

    def commit(self, raw: bytes, cursor: str, time_us: int, did: str, commit: Operation) -> Decoded:
        """One operation on one record; the hot path. An empty rev or cid counts as absent."""
        wanted = self._collections.get(commit.collection)
        if wanted is None:
            wanted = self._is_wanted(commit.collection)
            if wanted is None:
                return self.dead(raw, cursor, "bad-collection", "the collection is not an NSID")
        if not wanted:
            return UNWANTED
        if not 0 <= time_us <= TIME_US_MAX:
            return self.dead(raw, cursor, "bad-time", "the time is out of range")
        rkey, rev, cid = commit.rkey, commit.rev, commit.cid
        if self._are_usual(f"{did} {rkey} {rev} {cid}") is None:
            if not is_did(did) or len(did) > self.limits.did_bytes_max:
                return self.dead(raw, cursor, "bad-did", "did is not a DID")
            if not is_record_key(rkey) or len(rkey) > self.limits.rkey_bytes_max:
                return self.dead(raw, cursor, "bad-rkey", "rkey is not a record key")
            if not (_is_key(rev) and _is_key(cid)):
                return self.dead(raw, cursor, "bad-commit", "rev or cid has a NUL or is too long")
        action = commit.operation
        record: bytes | None = None
        if action in {"create", "update"}:
            record = bytes(commit.record)
            if not record.startswith(b"{"):
                return self.dead(raw, cursor, "bad-record", "the record is not an object")
            if is_nested_deeper(record, self.limits.nesting_levels_max):
                return self._too_deep(raw, cursor)
        elif action == "delete":
            cid = None
        else:
            return self.dead(raw, cursor, "bad-operation", "unknown operation on a record")
        return Event(
            0,
            did,
            "commit",
            action,
            commit.collection,
            rkey,
            rev or None,
            cid or None,
            record,
            time_us,
            cursor,
        )

    def other(
        self,
        raw: bytes,
        cursor: str,
        time_us: int,
        did: str,
        *,
        kind: str,
        action: str | None,
        rev: str | None,
        record: msgspec.Raw,
    ) -> Decoded:
        """An event about an account or a repo, or one of unknown kind; no action, no event."""
        if not is_did(did) or len(did) > self.limits.did_bytes_max:
            return self.dead(raw, cursor, "bad-did", "did is not a DID")
        if not 0 <= time_us <= TIME_US_MAX:
            return self.dead(raw, cursor, "bad-time", "the time is out of range")
        if not action or "\0" in action:
            return self.dead(raw, cursor, f"bad-{kind}", "no usable status or kind")
        if not _is_key(rev):
            return self.dead(raw, cursor, f"bad-{kind}", "rev has a NUL or is too long")
        kept = bytes(record)
        if is_nested_deeper(kept, self.limits.nesting_levels_max):
            return self._too_deep(raw, cursor)
        action = action[:ACTION_CHARS_MAX].lower()[:ACTION_CHARS_MAX]
        return Event(0, did, kind, action, None, None, rev or None, None, kept, time_us, cursor)

    def _is_wanted(self, collection: str) -> bool | None:
        if not is_nsid(collection) or len(collection) > self.limits.collection_bytes_max:
            return None
        wanted = collection in self.wanted
        if len(self._collections) < COLLECTIONS_REMEMBERED_MAX:
            self._collections[collection] = wanted
        return wanted

    def _too_deep(self, raw: bytes, cursor: str) -> Undecodable:
        limit = self.limits.nesting_levels_max
        return self.dead(raw, cursor, "too-deep", f"nested deeper than {limit} levels")


def inner_object(event: Event) -> bytes:
    """The inner object of an event that is no commit, on one line; made up where it has none."""
    if event.record is not None:
        return on_one_line(event.record)
    made: dict[str, object] = {"did": event.did}
    if event.kind == "account":
        made["active"] = event.action == "active"
        if event.action not in {"active", "inactive"}:
            made["status"] = event.action
    if event.rev is not None:
        made["rev"] = event.rev
    return msgspec.json.encode(made)


def _is_key(text: str | None) -> bool:
    return text is None or ("\0" not in text and len(text) <= TEXT_CHARS_MAX)
