"""A consumer group kept true for those who look at it: position, pending, lag, and the trimming.

The truth of what was read is the position saved with the log; the group only shows it. So every
read checks, in the same transaction, that the group stands where we do, and where the group cannot
be written (server out of memory, a read-only replica) reading goes on without it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from redis.exceptions import RedisError, ResponseError

from events.streams.link import RedisLink, Script, Word, is_forbidden, is_refused
from events.streams.stream import (
    Entry,
    EntryId,
    GroupState,
    StreamState,
    before,
    entry_id,
    group_state,
    stream_state,
)

PAGE_ENTRIES = 1000
SURVEY_ENTRIES_MAX = 10_000
"""How many pending entries are looked at when the lag of an interrupted reader is worked out."""

TIDY = Script("""
-- KEYS: stream. ARGV: group, position committed to the log, '1' to trim, then ids to acknowledge.
-- Returns how many were acknowledged and trimmed, the length left, and which group holds it back.
local stream, group, committed = KEYS[1], ARGV[1], ARGV[2]
local function before(a, b)
  local ams, aseq = string.match(a, '(%d+)-(%d+)')
  local bms, bseq = string.match(b, '(%d+)-(%d+)')
  if ams ~= bms then return #ams < #bms or (#ams == #bms and ams < bms) end
  return #aseq < #bseq or (#aseq == #bseq and aseq < bseq)
end
local acked, trimmed, holder, keep = 0, 0, '', committed
for i = 4, #ARGV, 1000 do
  acked = acked + redis.call('XACK', stream, group, unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
-- The entry of the position is always left in place: that it is there proves the stream to be the
-- one that was read. A stream flushed or restored from a copy since is not trimmed.
if #redis.call('XRANGE', stream, committed, committed) == 0 then return {acked, 0, 0, ''} end
local stale = redis.pcall('XPENDING', stream, group, '-', committed, 1000)
for _, pending in ipairs(stale) do
  acked = acked + redis.call('XACK', stream, group, pending[1])
end
if ARGV[3] == '1' then
  for _, row in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local facts = {}
    for i = 1, #row, 2 do facts[row[i]] = row[i + 1] end
    if facts['name'] ~= group then
      local at = facts['last-delivered-id']
      if facts['pending'] > 0 then
        local oldest = redis.call('XPENDING', stream, facts['name'])[2]
        if before(oldest, at) then at = oldest end
      end
      if before(at, keep) then keep, holder = at, facts['name'] end
    end
  end
  trimmed = redis.call('XTRIM', stream, 'MINID', keep)
end
return {acked, trimmed, redis.call('XLEN', stream), holder}
""")


LOOK = Script("""
-- KEYS: stream. ARGV: the command that reads. Returns what the stream was, its groups, the entries.
return {
  redis.pcall('XINFO', 'STREAM', KEYS[1]), redis.pcall('XINFO', 'GROUPS', KEYS[1]),
  redis.pcall(unpack(ARGV))
}
""")


class Survey(NamedTuple):
    """What is there at the start. `stream` is None when there is no such key.

    `unacked` are the ids the group read after the position and never acknowledged, at most
    SURVEY_ENTRIES_MAX + 1. `has_position` says whether the entry of the position is still there.
    """

    stream: StreamState | None
    group: GroupState | None
    unacked: list[EntryId]
    has_position: bool


class Look(NamedTuple):
    """One read, and what stream and group were just before it (None: no such key or group)."""

    stream: StreamState | None
    group: GroupState | None
    entries: list[Entry]


class Tidied(NamedTuple):
    """What acknowledging and trimming did; `holder` is another group that holds it back."""

    acked: int
    trimmed: int
    length: int
    holder: str


class Group:
    """The consumer group of one reader. `mirrored` says whether the group could be written."""

    def __init__(self, link: RedisLink, stream: str, group: str, consumer: str) -> None:
        self._link = link
        self._stream = stream
        self._group = group
        self._consumer = consumer
        self.mirrored = False

    async def survey(self, position: EntryId) -> Survey:
        """Looks without changing anything. Raises redis-py's errors."""
        stream, group = self._stream, self._group
        replies = await self._link.together(
            ("XINFO", "STREAM", stream),
            ("XINFO", "GROUPS", stream),
            ("XPENDING", stream, group, f"({position}", "+", SURVEY_ENTRIES_MAX + 1),
            ("XRANGE", stream, str(position), str(position)),
        )
        if _missing(replies[0]):
            return Survey(None, None, [], False)
        state = group_state(_good(replies[1]), group)
        unacked = [entry_id(row[0]) for row in _good(replies[2])] if state else []
        return Survey(stream_state(_good(replies[0])), state, unacked, bool(_good(replies[3])))

    async def stands_at(self, group: str) -> EntryId | None:
        """Where another group stands: what it was given and did not acknowledge, it has yet to do.

        None where there is no such group. Raises redis-py's errors.
        """
        groups, pending = await self._link.together(
            ("XINFO", "GROUPS", self._stream),
            ("XPENDING", self._stream, group),
        )
        state = None if _missing(groups) else group_state(_good(groups), group)
        if state is None:
            return None
        oldest = _good(pending)[1]
        return state.last if oldest is None else min(state.last, before(entry_id(oldest)))

    async def attach(self, position: EntryId, total: int | None, survey: Survey) -> str | None:
        """Puts the group, made if need be, at the position; clears everything pending in it.

        What was pending after the position is read again. `total` is how many entries were ever
        added up to the position (Redis 7). Returns why the group cannot be written, or None.
        """
        self.mirrored = False
        try:
            if survey.group is None:
                await self._create(position, total)
            else:
                await self.move(position, total)
                await self._clear(survey.stream.last if survey.stream else position)
        except RedisError as error:
            if not is_refused(error) and not is_forbidden(error):
                raise
            return str(error)
        self.mirrored = True
        return None

    async def _create(self, position: EntryId, total: int | None) -> None:
        words = ("XGROUP", "CREATE", self._stream, self._group, str(position), "MKSTREAM")
        await self._link.run(*words, *_entries_read(total))

    async def move(self, position: EntryId, total: int | None) -> None:
        """Sets the group's position, and with `total` the number its lag is worked out from."""
        words = ("XGROUP", "SETID", self._stream, self._group, str(position))
        await self._link.run(*words, *_entries_read(total))

    async def _clear(self, through: EntryId) -> None:
        full = PAGE_ENTRIES
        while full == PAGE_ENTRIES:
            page: list[list[Any]] = await self._link.run(
                "XPENDING", self._stream, self._group, "-", str(through), PAGE_ENTRIES
            )
            full = len(page)
            if page:
                await self._link.run("XACK", self._stream, self._group, *(row[0] for row in page))

    async def look(self, position: EntryId, entries_max: int) -> Look:
        """Reads through the group, or, where that cannot be written, straight after the position.

        Never waits. Raises redis-py's errors.
        """
        read: tuple[Word, ...] = ("XRANGE", self._stream, f"({position}", "+", "COUNT", entries_max)
        if self.mirrored:
            read = ("XREADGROUP", "GROUP", self._group, self._consumer, "COUNT", entries_max)
            read = (*read, "STREAMS", self._stream, ">")
        stream, groups, entries = await self._look(read)
        if _missing(stream):
            return Look(None, None, [])
        group = group_state(_good(groups), self._group)
        if self.mirrored:
            found = _good(entries) if group else None
            entries = found[0][1] if found else []
        return Look(
            stream_state(_good(stream)), group, [(row[0], row[1]) for row in _good(entries)]
        )

    async def _look(self, read: tuple[Word, ...]) -> list[Any]:
        about = ("XINFO", "STREAM", self._stream), ("XINFO", "GROUPS", self._stream)
        try:
            return await self._link.together(*about, read, atomic=True)
        except RedisError as error:
            if not is_refused(error):
                raise
        # A server out of memory takes no transaction, but it runs this; which costs a little more.
        replies: list[Any] = await self._link.script(LOOK, [self._stream], list(read))
        return replies

    async def tidy(self, committed: str, ids: list[bytes], trim: bool) -> Tidied:
        """Acknowledges what the log has, whoever read it, and trims what no group needs."""
        words: list[Word] = [self._group, committed, int(trim), *ids]
        acked, trimmed, length, holder = await self._link.script(TIDY, [self._stream], words)
        return Tidied(acked, trimmed, length, holder.decode())


def is_changing(error: BaseException) -> bool:
    """Whether stream or group came or went between two commands: look again."""
    signs = ("NOGROUP", "BUSYGROUP", "no such key", "requires the key to exist")
    return isinstance(error, ResponseError) and any(sign in str(error) for sign in signs)


def _entries_read(total: int | None) -> tuple[Word, ...]:
    return () if total is None else ("ENTRIESREAD", total)


def _missing(reply: object) -> bool:
    return isinstance(reply, ResponseError) and "no such key" in str(reply)


def _good(reply: Any) -> Any:
    if isinstance(reply, Exception):
        raise reply
    return reply
