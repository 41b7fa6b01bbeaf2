"""The one in-memory form of a fact from the network, and of what could not become one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NewType, Protocol

import msgspec

RESOLVED = "resolved"
"""The action of an identity event that says what a resolver found."""

Offset = NewType("Offset", int)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_US_MAX = 253_402_300_799_999_998
"""The largest event time, in microseconds since 1970: the last but one of the year 9999, since
asyncpg takes the last for infinity."""

TRACES_MAX = 128
"""The most spans that one span is linked to."""

# Neighbouring events share their second: its text is kept, since making it costs more than all the
# rest of a like's row.
_SECONDS: dict[int, str] = {}
_SECONDS_MAX = 10_000
_MILLISECONDS = tuple(f".{n:03d}Z" for n in range(1000))


def _second(since_1970: int) -> str:
    text = (EPOCH + timedelta(seconds=since_1970)).strftime("%Y-%m-%dT%H:%M:%S")
    if len(_SECONDS) >= _SECONDS_MAX:
        _SECONDS.clear()
    return _SECONDS.setdefault(since_1970, text)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One fact from the network.

    `kind` and `action` are lower case:

    - `commit`: one operation on one record; `action` is `create`, `update` or `delete`.
    - `account`: `action` is `active`, or the status (`deleted`, `takendown`, `suspended`,
      `deactivated`, …), or `inactive` where no status was given.
    - `identity`: `action` is `refresh`; or `resolved` for what a resolver found, with `handle` in
      its `record`, null where there is none.
    - `sync`: `action` is `reset` (the repo starts anew; its rows go), or `backfilled`
      (a backfill has delivered the repo as of `rev`; rsky's `repo` message; no row changes).
    - `erased`: an event of an account that was forgotten; `action` is the same, `did` is empty, and
      so is all else. It keeps its offset.
    - `unknown`: a well-formed message of a kind we do not know, kept whole in `record`;
      `action` is that kind.

    `record` is JSON exactly as it came, byte for byte: the record of a create or update; the
    inner object of account, identity and sync events; None for a delete.
    `time_us` is when it occurred, in microseconds since 1970. `log_offset` is 0 until the event is
    in the log.
    """

    log_offset: int
    did: str
    kind: str
    action: str
    collection: str | None
    rkey: str | None
    rev: str | None
    cid: str | None
    record: bytes | None
    time_us: int
    source_cursor: str = ""

    @property
    def uri(self) -> str:
        """The at-uri of the record; only for commits."""
        return f"at://{self.did}/{self.collection}/{self.rkey}"

    @property
    def occurred_at(self) -> datetime:
        """When it occurred, in UTC."""
        return from_time_us(self.time_us)

    @property
    def indexed_at(self) -> str:
        """The event's time as `YYYY-MM-DDTHH:MM:SS.mmmZ`, truncated to milliseconds."""
        second, micros = divmod(self.time_us, 1_000_000)
        return (_SECONDS.get(second) or _second(second)) + _MILLISECONDS[micros // 1000]

    @property
    def removes_account(self) -> bool:
        """Whether every row of the account goes: an account deletion or a repo reset."""
        return (self.kind == "account" and self.action == "deleted") or (
            self.kind == "sync" and self.action == "reset"
        )


class Undecodable(msgspec.Struct, frozen=True, gc=False):
    """A message that could not become an event, with its raw bytes and why.

    `reason` is a short slug to count by (`malformed`, `too-large`, `bad-did`, …); `error` is one
    line for a person.
    """

    raw: bytes
    reason: str
    error: str
    source_cursor: str = ""


class Skipped(msgspec.Struct, frozen=True, gc=False):
    """A message passed over on purpose; `reason` is a slug to count by."""

    reason: str


Decoded = Event | Undecodable | Skipped


@dataclass(frozen=True, slots=True)
class Limits:
    """What a decoder accepts. Beyond a limit a message becomes a dead letter."""

    message_bytes_max: int = 2 * 1024 * 1024
    nesting_levels_max: int = 64
    did_bytes_max: int = 2048
    collection_bytes_max: int = 317
    rkey_bytes_max: int = 512


class Wanted:
    """Which collections are wanted: exact names, `prefix.*`, or `*` for all."""

    def __init__(self, patterns: Sequence[str] = ("*",)) -> None:
        self.patterns = tuple(patterns)
        self.everything = "*" in self.patterns
        self._known: dict[str, bool] = {}

    def __contains__(self, collection: str) -> bool:
        if self.everything:
            return True
        known = self._known.get(collection)
        if known is None:
            known = self._matches(collection)
            if len(self._known) < 10_000:
                self._known[collection] = known
        return known

    def _matches(self, collection: str) -> bool:
        return any(
            collection.startswith(pattern[:-1]) if pattern.endswith(".*") else collection == pattern
            for pattern in self.patterns
        )


@dataclass(slots=True)
class Batch:
    """What a source hands over at once; appended in one transaction with its cursor.

    `cursor` is the source's position after the last message of the batch, in the source's own
    notation: whoever resumes from it sees nothing of this batch again and misses nothing after it.
    A batch may be empty of events and still move the cursor. `traces` are the W3C traceparents of
    what put the messages where they were read, as far as it left them, each once; the first
    `TRACES_MAX`.
    """

    cursor: str
    events: list[Event] = field(default_factory=list)
    dead: list[Undecodable] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    message_bytes: int = 0
    traces: list[str] = field(default_factory=list)

    def add(self, decoded: Decoded) -> None:
        """Files one decoded message where it belongs."""
        if type(decoded) is Event:
            self.events.append(decoded)
        elif type(decoded) is Undecodable:
            self.dead.append(decoded)
        else:
            assert type(decoded) is Skipped
            self.skipped[decoded.reason] += 1

    def bury_unstorable(self) -> int:
        """Turns events that Postgres cannot store (U+0000 or a lone surrogate in a key) into
        undecodable messages; returns how many. A net under the decoders, which refuse them."""
        refused = [event for event in self.events if not _is_storable(event)]
        if refused:
            self.events = [event for event in self.events if _is_storable(event)]
            self.dead += [
                Undecodable(
                    msgspec.json.encode(repr(event)),
                    "unstorable",
                    "a key holds U+0000 or a lone surrogate",
                    event.source_cursor,
                )
                for event in refused
            ]
        return len(refused)


def _is_storable(event: Event) -> bool:
    keys = (event.did, event.kind, event.action, event.collection, event.rkey, event.rev, event.cid)
    try:
        return all(b"\0" not in (key or "").encode() for key in keys)
    except UnicodeEncodeError:
        return False


class Source(Protocol):
    """Where events come from.

    `name` is the identity under which the cursor is saved: stable across restarts, without
    secrets. `rewinds` says whether resuming may hand over events a second time.
    """

    @property
    def name(self) -> str:
        """The identity under which the cursor is saved."""
        ...

    @property
    def rewinds(self) -> bool:
        """Whether events may come a second time."""
        ...

    def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        """Yields batches after `cursor` (None: from the source's start); ends when the source does.

        Holds a bounded amount in memory whatever the consumer's pace. Waits, with backoff, through
        trouble upstream. Closing the generator closes every connection.
        """
        ...

    async def committed(self, cursor: str) -> None:
        """Told after the log has committed everything up to `cursor`, at least once."""
        ...


Report = Callable[[str], None]
"""Where a source says what an operator should know (one line each); given at its construction."""


def nothing() -> None:
    """Does nothing, where a call is offered and nobody wants it."""


def from_time_us(time_us: int) -> datetime:
    """The UTC datetime, exact to the microsecond, of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=time_us)


def to_time_us(moment: datetime) -> int:
    """Microseconds since 1970 of a UTC datetime, exact."""
    return (moment - EPOCH) // timedelta(microseconds=1)
