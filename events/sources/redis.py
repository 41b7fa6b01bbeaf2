"""A Redis stream as a source: read through a consumer group, resumed from the log's position."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

from events.crashpoints import crash_point
from events.errors import SourceError
from events.event import TRACES_MAX, Batch, Limits, Report, Wanted, nothing
from events.redis_wire import RedisDecoder
from events.streams.group import Group, Tidied, is_changing
from events.streams.link import (
    GROUP,
    TIMEOUT_SECONDS,
    Patience,
    RedisLink,
    is_down,
    one_line,
    parse_place,
    place_name,
)
from events.streams.reader import StreamReader
from events.streams.stream import START, Entry, EntryId, dead_letter, entry_id, field_of

__all__ = ["RedisSource", "parse_place"]

T = TypeVar("T")

BATCH_BYTES_MAX = 32 * 1024 * 1024
HELD_ENTRIES_MAX = 100_000
"""From which length of the stream on it is said that another group holds back the trimming."""


class RedisSource:
    """Events from a Redis stream: rsky's wire format, or what `RedisSink` wrote.

    The cursor is the id of the last entry saved with the log. Resuming goes back to it whatever
    the group says, so what was read but not committed comes again. Entries are acknowledged, and
    with `trim` removed, only when the log has them and every other group has dealt with them; the
    last one stays, as a proof that the stream is still the same.

    - `after_group`: another group, at whose position reading begins where no cursor is given.
    - `consumer`: our name in the group; keep it the same across restarts. One reader per group: a
      second one is noticed and said, and both read everything.
    - `batch_bytes_max`: about how much is read at once; after large entries fewer are asked for.
    - `block_ms`: how long one read waits for entries.
    - `on_lost`: called whenever the server is lost.
    - `timeout_seconds`: how long a command may take before its connection is given up.
    - `backoff_seconds`: the first and the longest pause while the server is away.
    """

    def __init__(
        self,
        url: str,
        stream: str,
        *,
        group: str = GROUP,
        after_group: str = "",
        consumer: str,
        limits: Limits,
        wanted: Wanted,
        report: Report,
        on_lost: Callable[[], None] = nothing,
        batch_events_max: int = 2_000,
        batch_bytes_max: int = BATCH_BYTES_MAX,
        block_ms: int = 1_000,
        trim: bool = True,
        timeout_seconds: float = TIMEOUT_SECONDS,
        backoff_seconds: tuple[float, float] = (0.1, 10.0),
    ) -> None:
        self._name = place_name(url, stream)
        if min(batch_events_max, batch_bytes_max, block_ms) < 1:
            raise SourceError(f"{self._name}: the bounds of a batch and block_ms are at least 1")
        self._stream, self._trim, self._report = stream, trim, report
        self._after_group = after_group
        self._block_ms, self._batch_bytes_max = block_ms, batch_bytes_max
        self._message_bytes_max = limits.message_bytes_max
        self._decode = RedisDecoder(limits, wanted).decode
        self._link = RedisLink(url, timeout_seconds)
        # A read that blocks longer than the timeout would look like a dead server.
        self._blocking = RedisLink(url, timeout_seconds + block_ms / 1000)
        self._group = Group(self._link, stream, group, consumer)
        self._reader = StreamReader(self._group, self._name, report, batch_events_max)
        self._patience = Patience(self._name, report, *backoff_seconds, on_lost=on_lost)
        self._uncommitted: deque[tuple[str, list[bytes]]] = deque()
        self._untidied = ""
        self._said: set[str] = set()
        self._is_open = False

    @property
    def name(self) -> str:
        """E.g. `redis://localhost:6379/0?stream=firehose_live`; without credentials."""
        return self._name

    @property
    def rewinds(self) -> bool:
        """True: entries that were read and not committed come again."""
        return True

    async def batches(self, cursor: str | None) -> AsyncGenerator[Batch, None]:
        """Yields batches after the entry with the id `cursor`, for ever.

        Raises SourceError where waiting does not help: a wrong password, a key that is no stream,
        a cursor that is no entry id.
        """
        position = entry_id(cursor) if cursor else START
        is_given = bool(self._after_group and not cursor)
        self._uncommitted.clear()
        # Whoever was at it before may have been killed before it trimmed.
        self._untidied = cursor or ""
        self._is_open = True
        try:
            if is_given:
                position = await self._patiently(self._given_position)
            self._reader.start(position, is_given=is_given)
            while True:
                entries = await self._patiently(self._reader.read)
                if entries:
                    yield self._batch(entries)
                elif entries is not None:
                    await self._make_up()
                    await self._patiently(self._wait)
        finally:
            self._is_open = False
            await self._blocking.close()
            await self._link.close()

    async def _given_position(self) -> EntryId:
        found = await self._group.stands_at(self._after_group)
        if found is None:
            raise SourceError(
                f"{self._name}: there is no group {self._after_group!r} to begin after; redis-cli "
                f"XINFO GROUPS {self._stream} lists them, and without after_group reading begins "
                "with the stream's first entry"
            )
        self._report(f"{self._name}: beginning where the group {self._after_group!r} is, {found}")
        return found

    async def committed(self, cursor: str) -> None:
        """Acknowledges and trims what the log has; what fails is made up for later."""
        cursors = [each for each, _ in self._uncommitted]
        done = cursors.index(cursor) + 1 if cursor in cursors else 0
        ids = [name for _, names in list(self._uncommitted)[:done] for name in names]
        # Recovery: the log's cursor counts; entries before it are acknowledged by the next reader.
        crash_point("stream.tidying")
        try:
            tidied = await self._tidy(cursor, ids)
        finally:
            if not self._is_open:
                await self._link.close()
        if tidied:
            crash_point("stream.tidied")  # Recovery: what was trimmed is in the log.
            for _ in range(min(done, len(self._uncommitted))):
                self._uncommitted.popleft()

    async def _make_up(self) -> None:
        """Acknowledges and trims what should have been, while there is nothing to read: the stream
        may be full, and who writes to it waits for just that."""
        if self._untidied and self._reader.is_alone:
            await self._tidy(self._untidied, [])

    async def _tidy(self, cursor: str, ids: list[bytes]) -> bool:
        self._untidied = cursor
        trim = self._trim and self._reader.is_alone
        try:
            tidied = await self._group.tidy(cursor, ids, trim)
        except (RedisError, OSError) as error:
            self._say_once("tidy", f"cannot acknowledge or trim: {one_line(error)}; trying later")
            return False
        if self._untidied == cursor and trim == self._trim and not tidied.holder:
            self._untidied = ""
        self._note(tidied)
        return True

    def _note(self, tidied: Tidied) -> None:
        self._said.discard("tidy")
        if tidied.trimmed:
            self._reader.retry_group()
        if tidied.holder and tidied.length > HELD_ENTRIES_MAX:
            self._say_once(
                f"held {tidied.holder}",
                f"{tidied.length} entries are kept for the group {tidied.holder!r}, which has yet"
                " to read or acknowledge them; XGROUP DESTROY it if nobody uses it",
            )

    def _say_once(self, topic: str, text: str) -> None:
        if topic not in self._said and len(self._said) < 100:
            self._said.add(topic)
            self._report(f"{self._name}: {text}")

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._patience(call, lambda error: is_down(error) or is_changing(error))

    async def _wait(self) -> None:
        """Blocks until there is an entry after the position, `block_ms` at the most."""
        words = ("COUNT", 1, "BLOCK", self._block_ms, "STREAMS", self._stream)
        await self._blocking.run("XREAD", *words, str(self._reader.position))

    def _batch(self, entries: list[Entry]) -> Batch:
        batch = Batch(cursor=entries[-1][0].decode())
        decode, add, size = self._decode, batch.add, 0
        traces: dict[bytes, None] = {}
        for entry in entries:
            name, fields = entry
            size += len(fields[1])
            if len(fields) > 2 and (trace := field_of(entry, b"trace")):
                traces[trace] = None
            raw = fields[1] if fields[0] == b"event" else field_of(entry, b"event")
            if raw is None:
                add(dead_letter(entry, self._message_bytes_max))
            else:
                add(decode(raw, name.decode()))
        batch.message_bytes = size
        batch.traces = [trace.decode("ascii", "replace") for trace in list(traces)[:TRACES_MAX]]
        self._reader.pace(self._batch_bytes_max * len(entries) // max(1, size))
        self._uncommitted.append((batch.cursor, [name for name, _ in entries]))
        return batch
