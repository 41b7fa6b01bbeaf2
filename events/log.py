"""The event log: append whole batches, read ranges of offsets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from events.crashpoints import crash_point
from events.event import TRACES_MAX, Batch, Event
from events.recent import RecentEvents
from events.rows import times_in_microseconds

LOG_CHANNEL: Final = "projector_log"
"""The NOTIFY channel that wakes readers; the payload is the new head."""

COLUMNS: Final = (
    "log_offset",
    "did",
    "kind",
    "action",
    "collection",
    "rkey",
    "rev",
    "cid",
    "source_cursor",
    "record",
    "occurred_at",
)

CLAIM_SOURCE = """
INSERT INTO projector.source_cursor (source) VALUES ($1) ON CONFLICT (source) DO NOTHING
"""
SOURCE = "SELECT cursor, appends FROM projector.source_cursor WHERE source = $1"
# Repeats alone are no sign of life: they come where a source is begun anew, its host being silent.
MOVE_CURSOR = """
UPDATE projector.source_cursor
SET cursor = $3, appends = appends + 1, events = events + $4, duplicates = duplicates + $5,
    undecodable = undecodable + $6, message_bytes = message_bytes + $7, events_per_second = $8,
    updated_at = CASE WHEN $4 = 0 AND $6 = 0 AND $5 > 0 THEN updated_at ELSE now() END
WHERE source = $1 AND appends = $2
"""
COUNT_SKIPPED = """
UPDATE projector.source_cursor
SET skipped = skipped || (
    SELECT jsonb_object_agg(reason, n + coalesce((skipped ->> reason)::bigint, 0))
    FROM jsonb_each_text($2::jsonb) AS s(reason, t), LATERAL (SELECT t::bigint) AS c(n))
WHERE source = $1
"""
MOVE_HEAD = "UPDATE projector.log_head SET head = head + $1 RETURNING head"
HEAD = "SELECT head FROM projector.log_head"
NOTIFY = "SELECT pg_notify('projector_log', $1)"
DEAD_LETTER = """
INSERT INTO projector.dead_letter (stage, reason, error, source, source_cursor, raw)
VALUES ('decode', $1, $2, $3, $4, $5)
ON CONFLICT (source, source_cursor, md5(raw)) WHERE source IS NOT NULL
DO UPDATE SET attempts = dead_letter.attempts + 1
"""
TRACE = """
INSERT INTO projector.append_trace (through_offset, first_offset, traceparent) VALUES ($1, $2, $3)
"""
TRACES_KEPT_EVENTS: Final = 1_000_000
FORGET_TRACES = "DELETE FROM projector.append_trace WHERE through_offset < $1"
TRACES = f"""
SELECT traceparent FROM projector.append_trace
WHERE through_offset > $1 AND first_offset <= $2 AND through_offset <= (
    SELECT coalesce(min(through_offset), $2) FROM projector.append_trace WHERE through_offset >= $2)
ORDER BY through_offset LIMIT {TRACES_MAX}
"""
PARTITIONS = """
SELECT table_name, first_offset, end_offset FROM projector.log_partition ORDER BY first_offset
"""
MAKE_PARTITION = "SELECT projector.make_partition($1, $2)"


class SourceMoved(Exception):
    """Another appender appended for this source since we last did."""


class PartitionsShort(Exception):
    """Other appenders filled the partitions made ahead; more are needed, then all goes again."""

    def __init__(self, through: int) -> None:
        super().__init__(f"no partition for offset {through}")
        self.through = through


class LogCorrupt(Exception):
    """The log's own tables contradict each other."""


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of the log: the offsets `first_offset` up to, not with, `end_offset`."""

    table_name: str
    first_offset: int
    end_offset: int


@dataclass(frozen=True, slots=True)
class Appended:
    """What an append did: the offsets it assigned (none: last < first), repeats it left out."""

    first_offset: int
    last_offset: int
    duplicates: int
    undecodable: int


class Appender:
    """Appends the batches of one source over one connection.

    A batch's events, its dead letters and the source's cursor are one transaction. `appends` is
    what the source's counter must still be: of two appenders of one source one gets `SourceMoved`.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        source: str,
        *,
        recent: RecentEvents | None = None,
        partition_events: int = 10_000_000,
    ) -> None:
        self.connection = connection
        self.source = source
        self.recent = recent
        self.partition_events = partition_events
        self.cursor: str | None = None
        self.appends = 0
        self.partitions: list[Partition] = []

    async def open(self, *, fill: bool = True) -> str | None:
        """Claims the source's row, makes partitions ahead; returns the saved cursor.

        With `fill`, the window of recent events is filled from the log's tail.
        """
        await times_in_microseconds(self.connection)
        await self.connection.execute(CLAIM_SOURCE, self.source)
        crash_point("source.claimed")  # Recovery: the row is there, and is read.
        await self.reload()
        head = await read_head(self.connection)
        await self.make_partitions(head + 1)
        if fill and self.recent is not None:
            await self.recent.fill(self.connection, head)
        return self.cursor

    async def reload(self) -> None:
        """Reads the saved cursor and counter again."""
        row = await self.connection.fetchrow(SOURCE, self.source)
        if row is None:
            raise LogCorrupt(f"source_cursor lost the row of {self.source}")
        self.cursor, self.appends = row

    async def append(
        self, batch: Batch, *, events_per_second: float = 0.0, traceparent: str | None = None
    ) -> Appended:
        """Appends a batch with its cursor; durable when it returns.

        Raises `SourceMoved` when another appender of this source was here; asyncpg's errors pass
        through, and then all or nothing was committed: `reload` and `appends` tell.
        """
        events = batch.events if self.recent is None else self.recent.new_among(batch.events)
        duplicates = len(batch.events) - len(events)
        while True:
            try:
                async with self.connection.transaction():
                    await self._move_cursor(batch, len(events), duplicates, events_per_second)
                    crash_point("append.moved")  # Recovery: none of it is there; read again.
                    first, last = await self._write(events)
                    if batch.dead:
                        await self._bury(batch)
                    if events:
                        await self._announce(first, last, traceparent)
                    crash_point("append.written")  # Recovery: the same as of append.moved.
            except PartitionsShort as short:
                await self.make_partitions(short.through)
            else:
                break
        # Recovery: the log has the batch and the cursor is after it; no source brings it again.
        crash_point("append.committed")
        await self.make_partitions(last)
        self.finished(batch)
        return Appended(first, last, duplicates, len(batch.dead))

    async def _announce(self, first: int, last: int, traceparent: str | None) -> None:
        if traceparent is not None:
            await self.connection.execute(TRACE, last, first, traceparent)
            await self.connection.execute(FORGET_TRACES, last - TRACES_KEPT_EVENTS)
        await self.connection.execute(NOTIFY, str(last))

    def finished(self, batch: Batch, *, counted: bool = False) -> None:
        """Notes that `batch` is in the log; `counted`: the counter that was read has it."""
        self.appends += not counted
        self.cursor = batch.cursor
        if self.recent is not None:
            self.recent.add(batch.events)

    async def _move_cursor(
        self, batch: Batch, events: int, duplicates: int, events_per_second: float
    ) -> None:
        moved = await self.connection.execute(
            MOVE_CURSOR,
            self.source,
            self.appends,
            batch.cursor,
            events,
            duplicates,
            len(batch.dead),
            batch.message_bytes,
            events_per_second,
        )
        if moved != "UPDATE 1":
            raise SourceMoved(self.source)
        if batch.skipped:
            await self.connection.execute(COUNT_SKIPPED, self.source, json.dumps(batch.skipped))

    async def _write(self, events: Sequence[Event]) -> tuple[int, int]:
        if not events:
            return 1, 0
        last = await self.connection.fetchval(MOVE_HEAD, len(events))
        if last is None:
            raise LogCorrupt("log_head has no row")
        if last >= self.partitions[-1].end_offset:
            raise PartitionsShort(last)
        first = last - len(events) + 1
        for partition in self.partitions:
            start = max(first, partition.first_offset)
            end = min(last + 1, partition.end_offset)
            if start < end:
                await self.connection.copy_records_to_table(
                    partition.table_name,
                    schema_name="projector",
                    columns=COLUMNS,
                    records=_rows(events[start - first : end - first], start),
                )
        return first, last

    async def _bury(self, batch: Batch) -> None:
        await self.connection.executemany(
            DEAD_LETTER,
            [
                (d.reason, d.error.replace("\0", "\\0"), self.source, d.source_cursor, d.raw)
                for d in batch.dead
            ],
        )

    async def make_partitions(self, through: int) -> None:
        """Makes sure that there is a partition for every offset up to half a partition beyond.

        The database's own function makes them, so that an appender need not own the log.
        """
        wanted = through + self.partition_events // 2
        if self.partitions and self.partitions[-1].end_offset > wanted:
            return
        self.partitions = await read_partitions(self.connection)
        while not self.partitions or self.partitions[-1].end_offset <= wanted:
            await self._make_partition()
            self.partitions = await read_partitions(self.connection)

    async def _make_partition(self) -> None:
        first = self.partitions[-1].end_offset if self.partitions else 1
        async with self.connection.transaction():
            await self.connection.execute(MAKE_PARTITION, first, self.partition_events)
            crash_point("partition.making")  # Recovery: there is none; the next append makes it.
        crash_point("partition.made")  # Recovery: it is found, and filled.


def _rows(events: Sequence[Event], first: int) -> Iterator[tuple[object, ...]]:
    # Made while they are sent, so that Postgres need not wait for the last of them.
    for offset, e in enumerate(events, first):
        yield (
            offset, e.did, e.kind, e.action, e.collection, e.rkey, e.rev, e.cid,
            e.source_cursor, e.record, e.time_us,
        )  # fmt: skip


async def read_partitions(connection: asyncpg.Connection) -> list[Partition]:
    """The partitions of the log in the order of their offsets."""
    return [Partition(*row) for row in await connection.fetch(PARTITIONS)]


async def read_head(connection: asyncpg.Connection) -> int:
    """The highest offset of the log; 0 when it is empty. Every offset up to it can be read."""
    head = await connection.fetchval(HEAD)
    if head is None:
        raise LogCorrupt("log_head has no row")
    return int(head)


async def read_traces(connection: asyncpg.Connection, after: int, through: int) -> list[str]:
    """The traceparents of the appends that put these offsets into the log; the first ones."""
    return [row["traceparent"] for row in await connection.fetch(TRACES, after, through)]
