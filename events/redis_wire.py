"""rsky's Redis wire form (the `event` field of a stream entry) to events and back.

The form is that of rsky's ingester: one flat object per operation, tagged by `type`. Two types
are our own, `sync` (a repo reset) and `unknown`; and messages that are no commit carry, as one more
member `record`, the inner object as the network sent it. Readers of the form pass over both.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import msgspec

from events.event import Decoded, Event, Limits, Wanted, to_time_us
from events.json_text import (
    MALFORMED,
    NOTHING,
    integer_member,
    is_object,
    members,
    parse_around,
    text_member,
)
from events.wire import SYNC_ACTIONS, Checks, Operation, account_action, inner_object

OPERATIONS = frozenset({"create", "update", "delete"})
TYPES = frozenset({*OPERATIONS, "account", "identity", *SYNC_ACTIONS})
SEQ_OF_BACKFILL = -1

_rfc3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?"
    r"(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
).fullmatch
_quoted = msgspec.json.Encoder().encode


BLANKS: Final = b" \t\r\n"
"""What JSON allows around a value; it is no part of a record."""


class _Message(msgspec.Struct, gc=False):
    type: str
    time: str
    did: str
    collection: str = ""
    rkey: str = ""
    rev: str | None = None
    cid: str | None = None
    record: msgspec.Raw = NOTHING
    active: bool | None = None
    status: str | None = None
    kind: msgspec.Raw = NOTHING


class RedisDecoder:
    """Decodes messages; keeps what it learnt of collections between them. Never raises."""

    def __init__(self, limits: Limits | None = None, wanted: Wanted | None = None) -> None:
        self._limits = limits or Limits()
        self._checks = Checks(self._limits, wanted or Wanted())
        self._parser = msgspec.json.Decoder(_Message)

    def decode(self, raw: bytes, cursor: str) -> Decoded:
        """One message; `cursor` is its entry's id. The `seq` of any message is passed over."""
        if len(raw) > self._limits.message_bytes_max:
            return self._checks.too_large(raw, cursor)
        try:
            message = self._parser.decode(raw)
        except MALFORMED as error:
            return self._misfit(raw, cursor, error)
        return self._read(message, raw, cursor)

    def _read(self, message: _Message, raw: bytes, cursor: str) -> Decoded:
        time_us = _time_us(message.time)
        if time_us is None:
            return self._checks.dead(raw, cursor, "bad-time", "time is not RFC 3339")
        kind = message.type
        if kind in OPERATIONS:
            operation = Operation(
                kind, message.collection, message.rkey, message.rev, message.cid, message.record
            )
            return self._checks.commit(raw, cursor, time_us, message.did, operation)
        rev: str | None = None
        action: str | None = "refresh"
        if kind == "account":
            if message.active is None:
                return self._checks.dead(raw, cursor, "bad-account", "active is missing")
            action = account_action(message.active, message.status)
        elif kind in SYNC_ACTIONS:
            kind, action, rev = "sync", SYNC_ACTIONS[kind], message.rev
        elif kind != "identity":
            return self._read_unknown(message, time_us, raw, cursor)
        record = message.record if is_object(message.record) else msgspec.Raw(raw.strip(BLANKS))
        return self._checks.other(
            raw, cursor, time_us, message.did, kind=kind, action=action, rev=rev, record=record
        )

    def _read_unknown(self, message: _Message, time_us: int, raw: bytes, cursor: str) -> Decoded:
        action, record = message.type, msgspec.Raw(raw.strip(BLANKS))
        stated = text_member({"kind": message.kind}, "kind")
        if action == "unknown" and is_object(message.record) and stated is not None:
            action, record = stated, message.record
        return self._checks.other(
            raw, cursor, time_us, message.did,
            kind="unknown", action=action, rev=None, record=record,
        )  # fmt: skip

    def _misfit(self, raw: bytes, cursor: str, error: Exception) -> Decoded:
        """A message that does not parse into the shape: a lone surrogate, or what is wrong."""
        if isinstance(error, RecursionError):
            return self._checks.dead(raw, cursor, "too-deep", str(error))
        found = parse_around(self._parser.decode, raw, "record")
        if found is not None:
            message, record = found
            message.record = msgspec.Raw(record)
            return self._read(message, raw, cursor)
        try:
            return self._read_members(members(raw), raw, cursor, error)
        except MALFORMED:
            return self._checks.dead(raw, cursor, "malformed", str(error))

    def _read_members(
        self, parts: dict[str, msgspec.Raw], raw: bytes, cursor: str, error: Exception
    ) -> Decoded:
        """Some member has a wrong type: which; a type we do not know may have what it likes."""
        did, kind = text_member(parts, "did"), text_member(parts, "type")
        time = text_member(parts, "time")
        if did is None:
            reason = "bad-did"
        elif time is None:
            reason = "bad-time"
        elif kind is None:
            reason = "bad-kind"
        elif kind not in TYPES:
            return self._read(_Message(kind, time, did), raw, cursor)
        else:
            reason = "bad-commit" if kind in OPERATIONS else f"bad-{kind}"
        return self._checks.dead(raw, cursor, reason, str(error))


_default = RedisDecoder()


def decode(
    raw: bytes, cursor: str, limits: Limits | None = None, wanted: Wanted | None = None
) -> Decoded:
    """One message, by itself. Whoever has many keeps a `RedisDecoder`. Never raises."""
    if limits is None and wanted is None:
        return _default.decode(raw, cursor)
    return RedisDecoder(limits, wanted).decode(raw, cursor)


def encode(event: Event) -> bytes:
    """The event in rsky's field order, its record byte for byte.

    `commit` is empty, since an event does not tell of its commit's CID. `seq` is -1 for what a
    backfill delivered; else that of the inner object, or 0.
    """
    kind = event.action if event.kind == "commit" else event.kind
    parts = {"time": _quoted(event.occurred_at.isoformat(timespec="microseconds"))}
    parts["did"] = _quoted(event.did)
    if event.kind == "commit":
        return _entry(kind, 0, parts | _commit(event))
    inner = inner_object(event)
    told = _told(inner)
    seq = _seq(told)
    if event.kind == "sync":
        parts |= {"commit": b'""', "rev": _quoted(event.rev or "")}
        if event.action == SYNC_ACTIONS["repo"]:
            kind, seq = "repo", SEQ_OF_BACKFILL
    elif event.kind == "account":
        parts |= {"active": _quoted(event.action == "active"), "status": _status(event)}
    elif event.kind == "identity":
        parts["handle"] = _quoted(text_member(told, "handle"))
    else:
        parts["kind"] = _quoted(event.action)
    return _entry(kind, seq, parts | {"record": inner})


def _entry(kind: str, seq: int, parts: dict[str, bytes]) -> bytes:
    listed = b",".join(b'"%b":%b' % (key.encode(), value) for key, value in parts.items())
    return b'{"type":%b,"seq":%d,%b}' % (_quoted(kind), seq, listed)


def _commit(event: Event) -> dict[str, bytes]:
    parts = {
        "commit": b'""',
        "rev": _quoted(event.rev or ""),
        "collection": _quoted(event.collection),
        "rkey": _quoted(event.rkey),
    }
    if event.record is not None:
        parts |= {"cid": _quoted(event.cid or ""), "record": event.record}
    return parts


def _status(event: Event) -> bytes:
    stated = event.action not in {"active", "inactive"}
    return _quoted(event.action.capitalize() if stated else None)


def _told(inner: bytes) -> dict[str, msgspec.Raw]:
    try:
        return members(inner)
    except MALFORMED:
        return {}


def _seq(told: dict[str, msgspec.Raw]) -> int:
    seq = integer_member(told, "seq")
    return seq if seq is not None and 0 <= seq < 2**63 else 0


def _time_us(text: str) -> int | None:
    if _rfc3339(text) is None:
        return None
    try:
        # Digits beyond microseconds are cut off, on every version of Python we run on.
        return to_time_us(datetime.fromisoformat(text.upper()))
    except ValueError:
        return None
