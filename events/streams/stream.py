"""What a Redis stream tells of itself, and what follows from it; pure, without I/O."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from events.errors import SourceError
from events.event import Undecodable


class EntryId(NamedTuple):
    """The id of a stream entry; ids only grow within one stream."""

    milliseconds: int
    sequence: int

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"


START = EntryId(0, 0)
"""Before the first entry of any stream."""

SEQUENCE_MAX = 2**64 - 1


def before(name: EntryId) -> EntryId:
    """The greatest id that is less."""
    if name.sequence:
        return EntryId(name.milliseconds, name.sequence - 1)
    return EntryId(name.milliseconds - 1, SEQUENCE_MAX) if name.milliseconds else START


def entry_id(text: str | bytes) -> EntryId:
    """Reads `milliseconds-sequence`. Raises SourceError for anything else."""
    if isinstance(text, bytes):
        text = text.decode("ascii", "replace")
    match = re.fullmatch(r"(\d{1,20})-(\d{1,20})", text)
    if match is None:
        raise SourceError(f"{text!r} is no position in a Redis stream; expected like 1700000000-0")
    return EntryId(int(match[1]), int(match[2]))


class StreamState(NamedTuple):
    """What `XINFO STREAM` says. `added` (entries ever added) is None before Redis 7."""

    length: int
    first: EntryId | None
    last: EntryId
    added: int | None

    def ahead(self, position: EntryId) -> int | None:
        """How many entries lie after the position; None where only counting would tell."""
        if self.first is None or position >= self.last:
            return 0
        if position < self.first:
            return self.length
        return self.length - 1 if position == self.first else None


class GroupState(NamedTuple):
    """What `XINFO GROUPS` says of one group. `entries_read` is None where it does not know."""

    pending: int
    last: EntryId
    entries_read: int | None


def stream_state(reply: list[Any]) -> StreamState:
    """Reads the reply of `XINFO STREAM`."""
    facts = dict(zip(reply[::2], reply[1::2], strict=True))
    first = facts[b"first-entry"]
    return StreamState(
        facts[b"length"],
        entry_id(first[0]) if first else None,
        entry_id(facts[b"last-generated-id"]),
        facts.get(b"entries-added"),
    )


def group_state(reply: list[list[Any]], group: str) -> GroupState | None:
    """Finds one group in the reply of `XINFO GROUPS`; None when it is not there."""
    for row in reply:
        facts = dict(zip(row[::2], row[1::2], strict=True))
        if facts[b"name"] == group.encode():
            last = entry_id(facts[b"last-delivered-id"])
            return GroupState(facts[b"pending"], last, facts.get(b"entries-read"))
    return None


@dataclass(frozen=True, slots=True)
class Gap:
    """Entries that went before we read them; `count` is None where it cannot be known."""

    count: int | None
    through: EntryId


@dataclass(slots=True)
class Reader:
    """Where we are in a stream.

    `total` counts the entries ever added through the position (Redis 7; None where unknown): the
    server trims and deletes without a trace, but its own count of additions betrays it. It
    `is_certain` if it is ours; what a group remembers is lost when Redis 7.0 reads its file again.
    `seen` is the last id the stream was known to have.
    """

    position: EntryId = START
    total: int | None = None
    is_certain: bool = False
    seen: EntryId = START

    def is_ahead_of(self, stream: StreamState) -> bool:
        """Whether the stream has fewer entries than we have read: it is not what it was."""
        if stream.last < self.position:
            return True
        if stream.added is None or self.total is None:
            return False
        return self.is_certain and stream.added < self.total

    def find_gap(self, stream: StreamState) -> Gap | None:
        """Compares the stream as it was just before a read with what we know, and learns from it.

        Before Redis 7 a gap is certain only when the last id known has itself gone.
        """
        seen, self.seen = self.seen, stream.last
        ahead = stream.ahead(self.position)
        if stream.added is None:
            gone = stream.first is None or stream.first > seen
            return Gap(None, seen) if seen > self.position and gone else None
        if ahead is None:
            return None
        known, self.total = self.total, stream.added - ahead
        certain, self.is_certain = self.is_certain, True
        if known is None or not certain or known >= self.total:
            return None
        return Gap(self.total - known, stream.first if ahead and stream.first else stream.last)

    def advance(self, position: EntryId, entries: int) -> None:
        """Moves over entries just read."""
        self.position = position
        self.total = None if self.total is None else self.total + entries


Entry = tuple[bytes, list[bytes]]
"""An entry as Redis sends it: its id, then field, value, field, value, …"""

SLUG = re.compile(r"[a-z0-9-]{1,40}")


def field_of(entry: Entry, field: bytes) -> bytes | None:
    """The value of one field; None when the entry has no such field."""
    return dict(zip(entry[1][::2], entry[1][1::2], strict=True)).get(field)


def dead_letter(entry: Entry, message_bytes_max: int) -> Undecodable:
    """What an entry means that has no field `event`.

    A forwarded dead letter has the fields `raw`, `reason` and `error` (see `RedisSink`). Of any
    other the fields are kept as JSON: a list of pairs, with bytes that are no text as
    `{"$bytes": base64}`.
    """
    name, flat = entry
    cursor, fields = name.decode(), dict(zip(flat[::2], flat[1::2], strict=True))
    if b"raw" not in fields:
        pairs = [[_readable(item) for item in pair] for pair in zip(*[iter(flat)] * 2, strict=True)]
        raw = msgspec.json.encode(pairs)[:message_bytes_max]
        error = "the entry has neither the field event nor raw"
        return Undecodable(raw, "no-event-field", error, cursor)
    reason = fields.get(b"reason", b"").decode("utf-8", "replace")
    error = fields.get(b"error", b"").decode("utf-8", "replace")[:1000]
    # The reason becomes the label of a metric, and anybody may write to the stream.
    reason = reason if SLUG.fullmatch(reason) else "forwarded"
    return Undecodable(fields[b"raw"][:message_bytes_max], reason, " ".join(error.split()), cursor)


def _readable(value: bytes) -> str | dict[str, str]:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"$bytes": base64.b64encode(value).decode().rstrip("=")}
