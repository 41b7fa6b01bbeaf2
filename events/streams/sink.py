"""Writes what a source hands over into a Redis stream, each batch once and none dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from uuid import uuid4

from events.crashpoints import crash_point
from events.errors import SourceError
from events.event import Batch, Report, nothing
from events.redis_wire import encode
from events.streams.link import (
    TIMEOUT_SECONDS,
    Patience,
    RedisLink,
    Script,
    Word,
    is_down,
    is_refused,
    place_name,
)

ENTRIES_MAX = 1_000_000
CHUNK_BYTES_MAX = 64 * 1024 * 1024
"""A larger batch is written in several steps: a script holds up the whole server."""

APPEND = Script("""
-- KEYS: stream, cursor of the source, mark of the last write for this source.
-- ARGV: expected cursor, new cursor, mark of this write, most entries, trace, number of events, the
-- events, then raw, reason, error of each dead letter. What is absent is the empty string.
-- Refuses (memory) only at its first write, so it is done whole or not at all.
local events, given = tonumber(ARGV[6]), #ARGV
local trace = ARGV[5] ~= '' and {'trace', ARGV[5]} or {}
if redis.call('GET', KEYS[3]) == ARGV[3] then return {'written', 0} end
local saved = redis.call('GET', KEYS[2]) or ''
if saved ~= ARGV[1] then return {'claimed', saved} end
local length = redis.call('XLEN', KEYS[1])
if length + events + (given - 6 - events) / 3 > tonumber(ARGV[4]) then
  return {'full', length}
end
for i = 7, 6 + events do redis.call('XADD', KEYS[1], '*', 'event', ARGV[i], unpack(trace)) end
for i = 7 + events, given, 3 do
  local letter = {'raw', ARGV[i], 'reason', ARGV[i + 1], 'error', ARGV[i + 2], unpack(trace)}
  redis.call('XADD', KEYS[1], '*', unpack(letter))
end
redis.call('SET', KEYS[2], ARGV[2])
redis.call('SET', KEYS[3], ARGV[3])
return {'written', length}
""")


class SourceClaimed(SourceError):
    """The source's cursor in Redis is not where this writer left it.

    Another writer feeds the same source into the same stream, or Redis lost its last writes.
    Nothing of the batch was written; reading again from the saved cursor loses nothing.
    """


class StreamFull(Exception):
    """Writing would make the stream longer than allowed; only ever waited for."""


Chunk = list[Word]
"""What one script call writes: the number of events, the events, the dead letters in threes; where
it is written, with the trace before."""


class RedisSink:
    """Appends batches to a stream, with the cursor of their source beside it, atomically.

    Keys: the stream; `<stream>:cursor:<source>` (as rsky's tools read it); and
    `<stream>:written:<source>`, the mark by which a write whose reply was lost is known.

    - `entries_max`: when the stream would grow beyond it, `append` waits: nothing is dropped, and
      who waits reads no further upstream. The same when the server's memory is full.
    - `on_lost`: called whenever the server is lost.
    - `timeout_seconds`: how long a command may take before its connection is given up.
    - `backoff_seconds`: the first and the longest pause while waiting.
    """

    def __init__(
        self,
        url: str,
        stream: str,
        *,
        report: Report,
        on_lost: Callable[[], None] = nothing,
        entries_max: int = ENTRIES_MAX,
        timeout_seconds: float = TIMEOUT_SECONDS,
        backoff_seconds: tuple[float, float] = (0.05, 2.0),
    ) -> None:
        self._name = place_name(url, stream)
        if entries_max < 2:
            raise SourceError(f"{self._name}: the stream's bound must be at least 2 entries")
        self._stream = stream
        self._entries_max = entries_max
        self._link = RedisLink(url, timeout_seconds)
        self._patience = Patience(self._name, report, *backoff_seconds, on_lost=on_lost)

    @property
    def name(self) -> str:
        """E.g. `redis://localhost:6379/0?stream=firehose_live`; without credentials."""
        return self._name

    async def cursor(self, source_name: str) -> str | None:
        """The source's saved cursor, or None. Waits while the server is away."""
        key = self._keys(source_name)[1]
        saved: bytes | None = await self._patience(lambda: self._link.run("GET", key))
        return saved.decode() if saved else None

    async def append(
        self,
        source_name: str,
        expected_cursor: str | None,
        batch: Batch,
        *,
        trace: str | None = None,
    ) -> None:
        """Writes a batch and moves the source's cursor from `expected_cursor` to the batch's.

        `trace`, a W3C traceparent, goes into each entry as a field of its own, `trace`; readers of
        rsky's form look at `event` only.

        One atomic step, unless the batch is larger than half of `entries_max` or 64 MiB: then all
        steps but the last leave the cursor, so that a crash in between repeats, but never loses.
        Waits for room, and while the server is away. Raises SourceClaimed if the saved cursor is
        another; the batch was not written then.
        """
        chunks = list(_chunks(batch, max(1, self._entries_max // 2)))
        expected = expected_cursor or ""
        for chunk in chunks[:-1]:
            await self._write(source_name, expected, expected, [trace or "", *chunk])
        await self._write(source_name, expected, batch.cursor, [trace or "", *chunks[-1]])

    async def last_entry(self) -> str | None:
        """The id of the last entry ever added to the stream; None where there is no stream."""
        reply = await self._patience(lambda: self._link.run("XINFO", "STREAM", self._stream))
        facts = dict(zip(reply[::2], reply[1::2], strict=True))
        return bytes(facts[b"last-generated-id"]).decode()

    async def close(self) -> None:
        """Closes the connections."""
        await self._link.close()

    def _keys(self, source_name: str) -> list[str]:
        return [self._stream, *(f"{self._stream}:{k}:{source_name}" for k in ("cursor", "written"))]

    async def _write(self, source_name: str, expected: str, cursor: str, chunk: Chunk) -> None:
        keys = self._keys(source_name)
        # The mark makes repeating harmless: after a failure nobody knows whether it was written.
        words: list[Word] = [expected, cursor, uuid4().hex, self._entries_max, *chunk]
        crash_point("stream.writing")  # Recovery: the cursor in Redis brings the batch again.

        async def attempt() -> None:
            outcome, value = await self._link.script(APPEND, keys, words)
            if outcome == b"full":
                raise StreamFull(
                    f"the stream is full: {value} entries, {self._entries_max} at most"
                )
            if outcome == b"claimed":
                raise SourceClaimed(self._claim(source_name, expected, value.decode()))

        await self._patience(attempt, _is_waited_for)
        # Recovery: the cursor is after it; before it only where a batch is written in parts, and
        # then those written come again.
        crash_point("stream.written")

    def _claim(self, source_name: str, expected: str, saved: str) -> str:
        if not saved:
            return (
                f"{self._name}: the cursor of {source_name} is gone, it was at {expected}: Redis"
                " lost writes, all of them. Start again with ?cursor=… in the source's address, a"
                " time a minute before the oldest of the log's last thousand events; without, what"
                " Redis held and the log has not is passed over"
            )
        return (
            f"{self._name}: the cursor of {source_name} is {saved}, not {expected or 'absent'} as"
            " this writer left it: another writer feeds the same source (stop that one), or Redis"
            " lost writes; start again, it goes on from there"
        )


def _is_waited_for(error: BaseException) -> bool:
    return isinstance(error, StreamFull) or is_down(error) or is_refused(error)


def _chunks(batch: Batch, entries_max: int) -> Iterator[Chunk]:
    """The batch as one chunk, or as several where it is too large; one even if it is empty."""
    events: list[Word] = []
    dead: list[Word] = []
    size = 0
    for raw in map(encode, batch.events):
        if events and (len(events) >= entries_max or size + len(raw) > CHUNK_BYTES_MAX):
            yield _chunk(events, dead)
            events, size = [], 0
        events.append(raw)
        size += len(raw)
    for letter in batch.dead:
        entries, added = len(events) + len(dead) // 3, len(letter.raw)
        if entries and (entries >= entries_max or size + added > CHUNK_BYTES_MAX):
            yield _chunk(events, dead)
            events, dead, size = [], [], 0
        dead += letter.raw, letter.reason, letter.error
        size += added
    yield _chunk(events, dead)


def _chunk(events: list[Word], dead: list[Word]) -> Chunk:
    return [len(events), *events, *dead]
