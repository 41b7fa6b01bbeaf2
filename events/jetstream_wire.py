"""Jetstream's JSON messages (v1, and `sync` of v2) to events and back; the hot path of decoding."""

from __future__ import annotations

from itertools import accumulate, count
from operator import add
from typing import Final

import msgspec

from events.event import Decoded, Event, Limits, Wanted
from events.json_text import (
    MALFORMED,
    NOTHING,
    integer_member,
    is_object,
    members,
    on_one_line,
    parse_around,
    text_member,
)
from events.wire import SYNC_ACTIONS, Checks, Operation, account_action, inner_object

KINDS: Final = frozenset({"commit", "account", "identity", *SYNC_ACTIONS})


class _Message(msgspec.Struct, gc=False):
    did: str
    time_us: int
    kind: str
    commit: Operation | None = None
    account: msgspec.Raw = NOTHING
    identity: msgspec.Raw = NOTHING
    sync: msgspec.Raw = NOTHING
    repo: msgspec.Raw = NOTHING
    unknown: msgspec.Raw = NOTHING
    action: msgspec.Raw = NOTHING


class _Account(msgspec.Struct, gc=False):
    active: bool
    did: str | None = None
    status: str | None = None


class _Inner(msgspec.Struct, gc=False):
    did: str | None = None
    rev: str | None = None


_account = msgspec.json.Decoder(_Account).decode
_inner = msgspec.json.Decoder(_Inner).decode
_quoted = msgspec.json.Encoder().encode


class JetstreamDecoder:
    """Decodes messages; keeps what it learnt of collections between them. Never raises."""

    def __init__(self, limits: Limits | None = None, wanted: Wanted | None = None) -> None:
        self._limits = limits or Limits()
        self._checks = Checks(self._limits, wanted or Wanted())
        self._parser = msgspec.json.Decoder(_Message)

    def decode(self, raw: bytes, cursor: str | None = None) -> Decoded:
        """One message. Without a cursor the event's is its `time_us`, in decimal."""
        if len(raw) > self._limits.message_bytes_max:
            return self._checks.too_large(raw, cursor or "")
        try:
            message = self._parser.decode(raw)
        except MALFORMED as error:
            return self._misfit(raw, cursor, error)
        return self._read(message, raw, cursor)

    def decode_lines(self, chunk: bytes, position: int | None = None) -> list[Decoded]:
        """What each line that is not empty says, in order. Only a newline ends a line.

        With the chunk's byte position in its file, a cursor is the position after the line's end.
        """
        # Parsing the whole chunk at once (msgspec's decode_lines) was measured to gain nothing.
        lines = chunk.split(b"\n")
        if position is None:
            return [self.decode(line) for line in lines if line]
        ends = list(map(add, accumulate(map(len, lines)), count(position + 1)))
        ends[-1] = position + len(chunk)
        return [self.decode(line, str(end)) for line, end in zip(lines, ends, strict=True) if line]

    def _read(self, message: _Message, raw: bytes, cursor: str | None) -> Decoded:
        if cursor is None:
            cursor = str(message.time_us)
        if message.kind == "commit" and message.commit is not None:
            return self._checks.commit(raw, cursor, message.time_us, message.did, message.commit)
        return self._read_other(message, raw, cursor)

    def _read_other(self, message: _Message, raw: bytes, cursor: str) -> Decoded:
        did, kind, time_us = message.did, message.kind, message.time_us
        if kind not in KINDS:
            return self._read_unknown(message, raw, cursor)
        inner: msgspec.Raw = NOTHING if kind == "commit" else getattr(message, kind)
        try:
            told = _inner(inner)
            action = "refresh" if kind == "identity" else SYNC_ACTIONS.get(kind)
            if kind == "account":
                account = _account(inner)
                action = account_action(account.active, account.status)
        except MALFORMED as error:
            return self._checks.dead(raw, cursor, f"bad-{kind}", str(error))
        if told.did is not None and told.did != did:
            return self._checks.dead(raw, cursor, "did-mismatch", "the inner did is another one")
        rev = told.rev if kind in SYNC_ACTIONS else None
        kind = "sync" if kind in SYNC_ACTIONS else kind
        return self._checks.other(
            raw, cursor, time_us, did, kind=kind, action=action, rev=rev, record=inner
        )

    def _read_unknown(self, message: _Message, raw: bytes, cursor: str) -> Decoded:
        did, time_us = message.did, message.time_us
        action, record = message.kind, msgspec.Raw(raw)
        stated = text_member({"action": message.action}, "action")
        if action == "unknown" and is_object(message.unknown) and stated is not None:
            action, record = stated, message.unknown
        return self._checks.other(
            raw, cursor, time_us, did, kind="unknown", action=action, rev=None, record=record
        )

    def _misfit(self, raw: bytes, cursor: str | None, error: Exception) -> Decoded:
        """A message that does not parse into the shape: a lone surrogate, or what is wrong."""
        if isinstance(error, RecursionError):
            return self._checks.dead(raw, cursor or "", "too-deep", str(error))
        found = parse_around(self._parser.decode, raw, "commit", "record")
        if found is not None:
            message, record = found
            if message.commit is not None:
                message.commit.record = msgspec.Raw(record)
            return self._read(message, raw, cursor)
        try:
            return self._read_members(members(raw), raw, cursor, error)
        except MALFORMED:
            return self._checks.dead(raw, cursor or "", "malformed", str(error))

    def _read_members(
        self, parts: dict[str, msgspec.Raw], raw: bytes, cursor: str | None, error: Exception
    ) -> Decoded:
        """Some member has a wrong type: which; a kind we do not know may have what it likes."""
        did, kind = text_member(parts, "did"), text_member(parts, "kind")
        time_us = integer_member(parts, "time_us")
        cursor = cursor or ("" if time_us is None else str(time_us))
        reason = f"bad-{kind}"
        if did is None:
            reason = "bad-did"
        elif time_us is None:
            reason = "bad-time"
        elif kind is None:
            reason = "bad-kind"
        elif kind not in KINDS:
            return self._read_unknown(_Message(did, time_us, kind), raw, cursor)
        return self._checks.dead(raw, cursor, reason, str(error))


_default = JetstreamDecoder()


def decode(
    raw: bytes,
    cursor: str | None = None,
    limits: Limits | None = None,
    wanted: Wanted | None = None,
) -> Decoded:
    """One message, by itself. Whoever has many keeps a `JetstreamDecoder`. Never raises."""
    if limits is None and wanted is None:
        return _default.decode(raw, cursor)
    return JetstreamDecoder(limits, wanted).decode(raw, cursor)


def encode(event: Event) -> bytes:
    """The event as a v1 line (no newline at its end), its record byte for byte.

    Two forms are our own: kind `repo` (a `sync` event that says `backfilled`), and kind `unknown`
    around the record of an unknown event that is itself no Jetstream message. A newline inside a
    record, where JSON allows one only between tokens, becomes a space.
    """
    if event.kind == "unknown":
        return _encode_unknown(event)
    if event.kind == "commit":
        return _line(event, b"commit", _commit(event))
    kind = "repo" if event.action == SYNC_ACTIONS["repo"] else event.kind
    return _line(event, kind.encode(), inner_object(event))


def _line(event: Event, kind: bytes, inner: bytes) -> bytes:
    did, time_us = _quoted(event.did), event.time_us
    return b'{"did":%b,"time_us":%d,"kind":"%b","%b":%b}' % (did, time_us, kind, kind, inner)


def _commit(event: Event) -> bytes:
    texts = {
        "rev": event.rev,
        "operation": event.action,
        "collection": event.collection,
        "rkey": event.rkey,
    }
    parts = [b'"%b":%b' % (key.encode(), _quoted(text)) for key, text in texts.items() if text]
    if event.record is not None:
        parts.append(b'"record":' + on_one_line(event.record))
    if event.cid is not None:
        parts.append(b'"cid":' + _quoted(event.cid))
    return b"{" + b",".join(parts) + b"}"


def _encode_unknown(event: Event) -> bytes:
    record = inner_object(event)
    itself = decode(record)
    if type(itself) is Event and _facts(itself) == _facts(event) and itself.record == record:
        return record
    return _line(event, b"unknown", record)[:-1] + b',"action":%b}' % _quoted(event.action)


def _facts(event: Event) -> tuple[str, str, str, int]:
    return (event.did, event.kind, event.action, event.time_us)
