"""The whole log: the archive and the live partitions, read as one."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from events.archive import Archived, ArchiveReader
from events.event import Event
from events.log import LogCorrupt, read_head
from events.rows import EVENT, fetch_events

SCAN_EVENTS: Final = 5_000
"""How many offsets a scan reads at once."""

ENDS: Final = """
SELECT end_offset FROM projector.log_partition
UNION SELECT end_offset FROM projector.log_archive ORDER BY end_offset
"""
# Each of these returns the event at $1 whatever it is: what shows that the partition was there
# for this very statement. A partition is seen whole or not at all.
READ: Final = f"""
SELECT {EVENT} FROM projector.event_log
WHERE log_offset >= $1 AND log_offset <= $2 AND ($3::text[] IS NULL OR kind <> 'commit'
    OR collection = ANY($3::text[]) OR log_offset = $1)
ORDER BY log_offset
"""
OF_ACCOUNTS: Final = f"""
SELECT {EVENT} FROM projector.event_log WHERE log_offset = $1
UNION ALL
SELECT {EVENT} FROM projector.event_log
WHERE did IN (SELECT unnest($4::text[])) AND log_offset > $1 AND log_offset <= $2
    AND ($3::text[] IS NULL OR kind <> 'commit' OR collection = ANY($3::text[]))
ORDER BY log_offset
"""
ARCHIVED: Final = """
SELECT a.first_offset, a.end_offset, a.location, a.bytes, a.sha256, EXISTS (
    SELECT FROM projector.log_partition AS p WHERE p.first_offset = a.first_offset)
FROM projector.log_archive AS a WHERE a.first_offset <= $1 AND a.end_offset > $1
"""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of each piece of a range: offsets `first` to `last`, both with."""

    live: Callable[[int, int], Awaitable[list[Event]]]
    stored: Callable[[Archived, int, int], list[Event]]
    keeps: Callable[[Event], bool]


class WholeLog:
    """Reads the log wherever its offsets lie.

    All methods take the connection to read the live log by; see `times_in_microseconds`. They
    raise `LogCorrupt` where offsets up to the head are neither in a partition nor in the archive,
    or an archive file is missing or damaged, and `ArchiveUnavailable`.

    A partition may go to the archive, or come back, at any moment. Its file is made known before it
    goes, so whoever does not see the partition, and looks for the file after that, sees the file.
    """

    def __init__(self) -> None:
        self._ends: list[int] = []
        self._gone: set[int] = set()
        self._reader = ArchiveReader()

    async def read(
        self,
        connection: asyncpg.Connection,
        after: int,
        through: int,
        collections: Sequence[str] | None = None,
    ) -> list[Event]:
        """The events with offsets above `after` up to `through`, in order.

        With `collections`, of the commits only those; events of other kinds always.
        """
        wanted = None if collections is None else list(collections)

        async def live(first: int, last: int) -> list[Event]:
            return await fetch_events(connection, READ, first, last, wanted)

        def stored(file: Archived, first: int, last: int) -> list[Event]:
            return self._reader.read(file, first - 1, last, wanted)

        question = _Question(live, stored, _filter(wanted))
        return await self._ask(connection, after, through, question)

    async def scan(
        self,
        connection: asyncpg.Connection,
        after: int,
        through: int,
        collections: Sequence[str] | None = None,
        *,
        batch_events: int = SCAN_EVENTS,
    ) -> AsyncIterator[list[Event]]:
        """The same in batches, for ranges of any length."""
        while after < through:
            end = min(after + batch_events, through)
            yield await self.read(connection, after, end, collections)
            after = end

    async def of_accounts(
        self,
        connection: asyncpg.Connection,
        dids: Sequence[str],
        after: int,
        through: int,
        collections: Sequence[str] | None = None,
    ) -> list[Event]:
        """The events of accounts within the range, in the order of their offsets."""
        wanted = None if collections is None else list(collections)
        accounts = list(dids)

        async def live(first: int, last: int) -> list[Event]:
            return await fetch_events(connection, OF_ACCOUNTS, first, last, wanted, accounts)

        def stored(file: Archived, first: int, last: int) -> list[Event]:
            return self._reader.of_accounts(file, accounts, first - 1, last, wanted)

        question = _Question(live, stored, _filter(wanted, frozenset(accounts)))
        return await self._ask(connection, after, through, question)

    async def _ask(
        self, connection: asyncpg.Connection, after: int, through: int, question: _Question
    ) -> list[Event]:
        events: list[Event] = []
        while after < through:
            end = await self._end(connection, after + 1)
            last = min(through, end - 1)
            found = await self._piece(connection, range(after + 1, last + 1), end, question)
            if found and found[0].log_offset == after + 1 and not question.keeps(found[0]):
                del found[0]
            events += found
            after = last
        return events

    async def _end(self, connection: asyncpg.Connection, offset: int) -> int:
        """Where the partition or file that holds an offset ends; that never changes."""
        if not self._ends or offset >= self._ends[-1]:
            self._ends = [row[0] for row in await connection.fetch(ENDS)]
        at = bisect_right(self._ends, offset)
        # Beyond all partitions nothing is, and so nothing is there to end.
        return self._ends[at] if at < len(self._ends) else 2**63 - 1

    async def _piece(
        self, connection: asyncpg.Connection, piece: range, end: int, question: _Question
    ) -> list[Event]:
        first, last = piece[0], piece[-1]
        for _ in range(2):
            if end not in self._gone:
                events = await question.live(first, last)
                if events and events[0].log_offset == first:
                    return events
            file = await self._archived(connection, first)
            if file is not None:
                return await asyncio.to_thread(question.stored, file, first, last)
            # Appended just now, between the two questions? Then it is there the second time.
            if first > await read_head(connection):
                return []
        raise LogCorrupt(f"offset {first} is neither in a partition of the log nor in the archive")

    async def _archived(self, connection: asyncpg.Connection, offset: int) -> Archived | None:
        row = await connection.fetchrow(ARCHIVED, offset)
        if row is None:
            return None
        *fields, is_live = row
        # Partitions that are gone are not asked again, until one is back.
        (self._gone.discard if is_live else self._gone.add)(fields[1])
        return Archived(*fields)

    async def close(self) -> None:
        """Lets go of the archive's files."""
        await asyncio.to_thread(self._reader.close)


def _filter(
    collections: list[str] | None, accounts: frozenset[str] | None = None
) -> Callable[[Event], bool]:
    def keep(event: Event) -> bool:
        if accounts is not None and event.did not in accounts:
            return False
        return collections is None or event.kind != "commit" or event.collection in collections

    return keep
