"""Reads a stream in order from a position of our own, and says when the stream is not as it was."""

from __future__ import annotations

import time

from redis.exceptions import RedisError

from events.event import Report
from events.streams.group import SURVEY_ENTRIES_MAX, Group, Look, Survey
from events.streams.link import is_forbidden, is_refused, one_line
from events.streams.stream import START, Entry, EntryId, Gap, Reader, StreamState, entry_id

SHARED_SECONDS = 60.0
"""How long nothing is trimmed after another reader was seen in our group."""
UNMIRRORED_SECONDS = 5.0
"""How long reading goes on without a group that could not be written, until it is tried again."""


class StreamReader:
    """Hands out entries that follow the position for certain.

    The group's own position is never believed: it is compared with ours in each read, and set back
    where it differs (a lost reply, another reader, an operator's hand, an older copy restored).
    """

    def __init__(self, group: Group, name: str, report: Report, entries_max: int) -> None:
        self._group = group
        self._name = name
        self._report = report
        self._entries_max = self._entries = entries_max
        self._reader = Reader()
        self._settled = self._is_given = False
        self._in_doubt = self._is_lost = False
        self._found_at: EntryId | None = None
        self._shared_until = self._unmirrored_until = 0.0

    @property
    def position(self) -> EntryId:
        """The last entry handed out."""
        return self._reader.position

    @property
    def is_alone(self) -> bool:
        """Whether no other reader was seen in our group of late."""
        return time.monotonic() >= self._shared_until

    def start(self, position: EntryId, *, is_given: bool = False) -> None:
        """Begins anew after the position; one that `is_given` we were never at, and there need be
        no entry."""
        self._reader = Reader(position)
        self._is_given = is_given
        self._settled = False
        self._group.mirrored = False

    def pace(self, entries_max: int) -> None:
        """Asks for at most so many entries from now on, growing no faster than twofold."""
        self._entries = max(1, min(entries_max, self._entries * 2, self._entries_max))

    def retry_group(self) -> None:
        """Tries a group that could not be written again with the next read."""
        self._unmirrored_until = 0.0

    async def read(self) -> list[Entry] | None:
        """The next entries, none if there are none yet; None: something was put right, read again.

        Raises redis-py's errors; the next call finds out what became of the read.
        """
        if not self._settled:
            await self._settle()
        elif not self._group.mirrored and time.monotonic() >= self._unmirrored_until:
            await self._attach(await self._group.survey(self.position))
        try:
            look = await self._group.look(self.position, self._entries)
        except (RedisError, OSError) as error:
            self._in_doubt = True
            self._entries = max(1, self._entries // 2)
            if self._group.mirrored and _is_unwritable(error):
                self._lose_group(one_line(error))
                return None
            raise
        return await self._judge(look)

    async def _judge(self, look: Look) -> list[Entry] | None:
        reader, stream, group = self._reader, look.stream, look.group
        behind = self._group.mirrored and (group is None or group.last < reader.position)
        if stream is None or behind or reader.is_ahead_of(stream):
            self._settled, self._found_at = False, group and group.last
            return None
        if self._group.mirrored and group:
            if group.last != reader.position:
                self._note_other(group.last)
                await self._move()
                return None
            self._find_group_again()
        self._in_doubt = False
        gap = reader.find_gap(stream)
        if gap:
            self._say_gap(gap)
        counts = group.entries_read if group else None
        is_lag_true = None in (counts, reader.total) or counts == reader.total
        if look.entries:
            reader.advance(entry_id(look.entries[-1][0]), len(look.entries))
        if not is_lag_true:
            await self._move()
        return look.entries

    async def _settle(self) -> None:
        """Decides where to read from, given what is there, and puts the group there."""
        survey = await self._group.survey(self.position)
        self._reader.total, self._reader.is_certain = None, False
        if self.position != START and not self._is_given:
            self._compare(survey)
        elif survey.stream:
            self._reader.find_gap(survey.stream)
        await self._attach(survey)
        self._settled, self._is_given, self._found_at = True, False, None

    def _compare(self, survey: Survey) -> None:
        saved, stream, group = self.position, survey.stream, survey.group
        # The look that found the group elsewhere has moved it on.
        group_at = self._found_at or (group.last if group else START)
        if stream is None:
            self._restart("there is no such stream")
        elif stream.last < saved:
            self._restart(f"the stream ends at {stream.last}")
        elif not survey.has_position and group_at < saved:
            self._restart(f"of that the stream ({_extent(stream)}) and its group know nothing")
        else:
            if self._found_at is not None:
                self._note_other(self._found_at)
            else:
                self._reader.total = _total(survey)
            self._find_loss(survey, stream)

    def _restart(self, what: str) -> None:
        self._report(
            f"{self._name}: read through {self.position}, but {what}: it was flushed, deleted or"
            " restored from an older copy; reading from its beginning, the log drops repeats. What"
            " it held and nobody read comes again only where its writer begins that early"
        )
        self._reader = Reader(START)

    def _find_loss(self, survey: Survey, stream: StreamState) -> None:
        remembered = self._reader.total
        self._reader.find_gap(stream)
        if survey.has_position:
            return
        # Somebody else trims the stream, or the entry of the position would be there.
        certain = sum(stream.first is None or name < stream.first for name in survey.unacked)
        text = f"after {self.position} were trimmed or deleted by others while we were away"
        if certain:
            text = f"LOST {certain} or more entries: they {text}"
        elif remembered is None or self._reader.total is None:
            text = f"perhaps LOST entries: how many {text} cannot be known"
        elif remembered < self._reader.total:
            text = f"perhaps LOST {self._reader.total - remembered} entries: so many {text}"
        else:
            return
        self._report(f"{self._name}: {text}; going on with {_extent(stream)}")

    async def _attach(self, survey: Survey) -> None:
        refusal = await self._group.attach(self.position, self._reader.total, survey)
        if refusal is not None:
            self._lose_group(refusal)

    def _lose_group(self, refusal: str) -> None:
        if not self._is_lost:
            self._report(
                f"{self._name}: cannot write the consumer group: {refusal}; reading without it"
            )
        self._is_lost = True
        self._group.mirrored = False
        self._unmirrored_until = time.monotonic() + UNMIRRORED_SECONDS

    def _find_group_again(self) -> None:
        if self._is_lost:
            self._is_lost = False
            self._report(f"{self._name}: the consumer group is kept up to date again")

    def _note_other(self, group_at: EntryId) -> None:
        if self._in_doubt:
            return  # Our own read may have moved the group, and its reply was lost.
        if self.is_alone:
            self._report(
                f"{self._name}: another reader uses our consumer group: it stands at {group_at},"
                f" we at {self.position}; reading on from ours, trimming paused"
            )
        self._shared_until = time.monotonic() + SHARED_SECONDS

    async def _move(self) -> None:
        if not self._group.mirrored:
            return
        try:
            await self._group.move(self.position, self._reader.total)
        except RedisError as error:
            if not _is_unwritable(error):
                raise
            self._lose_group(one_line(error))

    def _say_gap(self, gap: Gap) -> None:
        count = "an unknown number of" if gap.count is None else gap.count
        self._report(
            f"{self._name}: LOST {count} entries after {self.position}: trimmed or deleted by"
            f" others before they were read; going on at {gap.through}"
        )


def _is_unwritable(error: BaseException) -> bool:
    return is_refused(error) or is_forbidden(error)


def _total(survey: Survey) -> int | None:
    """How many entries were ever added up to the position, by what the group remembers."""
    stream, group = survey.stream, survey.group
    if stream is None or group is None or stream.added is None or group.entries_read is None:
        return None
    if len(survey.unacked) > SURVEY_ENTRIES_MAX:
        return None
    return min(stream.added, group.entries_read - len(survey.unacked))


def _extent(stream: StreamState) -> str:
    return f"{stream.length} entries, {stream.first or 'none'} to {stream.last}"
