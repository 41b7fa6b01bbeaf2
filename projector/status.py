"""Where everything is: the log's head, each projection's lag, sources, dead letters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, Literal

import asyncpg
import msgspec

from events.log import read_head
from projector.completeness import ProbeStatus, read_probe
from projector.declare import Aggregate, Fed, Kept
from projector.rates import ALL, is_live
from projector.silence import Rhythm, Silence, quiet_after_seconds, read_rhythms, silences

IN_STEP_SECONDS: Final = 2.0
"""A projection that is run, and whose oldest unapplied event is younger, is in step."""

SILENT_SECONDS: Final = 60.0
"""A source that is being ingested and has brought nothing for so long is silent, as long as it has
no past by which to say."""

STOPPED_SECONDS_MAX: Final = 7 * 86_400.0
"""A live source that nobody has ingested for longer is one of the past."""

SILENCES_SAID_MAX: Final = 3
"""How many silent collections the sentence names."""

# A rate that nobody renewed for this long belongs to the past.
RATE_SECONDS: Final = 15

CHECKPOINTS: Final = """
SELECT c.projection, c.version, c.log_offset, c.events, l.owner,
    CASE WHEN c.updated_at > now() - $1 * interval '1 second' THEN c.events_per_second ELSE 0 END,
    extract(epoch FROM now() - (SELECT e.appended_at FROM projector.event_log AS e
        WHERE e.log_offset = c.log_offset + 1))::float8
FROM projector.checkpoint AS c
LEFT JOIN projector.lease AS l ON l.name = 'projection ' || c.projection AND l.until > now()
"""
SOURCES: Final = """
SELECT s.source, s.cursor, s.events, s.duplicates, s.undecodable, s.skipped::text,
    s.message_bytes, l.owner,
    CASE WHEN s.updated_at > now() - $1 * interval '1 second' THEN s.events_per_second ELSE 0 END,
    extract(epoch FROM now() - s.updated_at)::float8
FROM projector.source_cursor AS s
LEFT JOIN projector.lease AS l ON l.name = 'source ' || s.source AND l.until > now()
ORDER BY s.source
"""
LETTERS: Final = """
SELECT coalesce(projection, source), stage, reason, count(*)
FROM projector.dead_letter WHERE position('@' in coalesce(projection, '')) = 0
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
PENDING: Final = """
SELECT aggregate, count(*), min(through_offset) FROM projector.outbox GROUP BY aggregate
"""
BUILDS: Final = """
SELECT b.projection, b.phase, CASE b.phase
        WHEN 'load' THEN (SELECT coalesce(sum(upper(r) - lower(r)), 0) FROM unnest(b.loaded) AS r)
        ELSE c.log_offset END::bigint, b.through_offset, l.owner
FROM projector.build AS b JOIN projector.checkpoint AS c ON c.projection = b.name
LEFT JOIN projector.lease AS l ON l.name = 'rebuild ' || b.projection AND l.until > now()
WHERE b.name LIKE '%@green' ORDER BY b.projection
"""
AUDIT: Final = """
SELECT accounts, proven, round_as_of, complete_as_of, (SELECT count(*) FROM projector.finding)
    + (SELECT count(*) FROM projector.counter_finding)
FROM projector.audit_state
"""


class Trouble(msgspec.Struct, frozen=True):
    """One more thing that is wrong: in a clause, that ends with what to type after a colon."""

    level: Literal["bad", "warn"]
    clause: str


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One projection: where it is, how far behind, how fast, who runs it."""

    name: str
    kind: str
    version: int
    checkpoint: int
    lag_events: int
    lag_seconds: float
    events_per_second: float
    events: int
    pending_rows: int
    dead_letters: int
    owner: str | None


class SourceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One source: its cursor, what came from it, and how long ago it last said something.

    `quiet_after_seconds` is how long it must say nothing to be called silent; None: for ever.
    """

    name: str
    cursor: str | None
    events: int
    duplicates: int
    undecodable: int
    skipped: dict[str, int]
    message_bytes: int
    events_per_second: float
    idle_seconds: float
    owner: str | None
    quiet_after_seconds: float | None = SILENT_SECONDS

    @property
    def is_in_use(self) -> bool:
        """Whether it is a live one, and none of the past."""
        return is_live(self.name) and self.idle_seconds < STOPPED_SECONDS_MAX

    @property
    def is_silent(self) -> bool:
        """Whether it is being ingested and brings nothing."""
        after = self.quiet_after_seconds
        heard = after is None or self.idle_seconds <= after
        return self.is_in_use and self.owner is not None and not heard


class LetterCount(msgspec.Struct, frozen=True, kw_only=True):
    """How many dead letters of a projection or source have the same reason."""

    where: str
    stage: str
    reason: str
    count: int


class AuditStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How far the rolling audit is in its round, and how many keys differ from the log.

    `complete_as_of` is what all accounts were proven as of in the last round that is complete.
    """

    accounts: int
    proven: int
    as_of: int
    complete_as_of: int | None
    differences: int

    @property
    def sentence(self) -> str:
        """The same in words."""
        text = f"{self.proven:,} of {self.accounts:,} accounts proven"
        if self.proven:
            text += f" as of offset {self.as_of:,}"
        if self.complete_as_of is not None:
            text += f" (all of them as of {self.complete_as_of:,})"
        text += f", {self.differences:,} differences"
        return text + (": projector heal --all-differences" if self.differences else "")


class BuildStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A rebuild: of what, what it is at, how far, and by whom; by nobody, it is unfinished."""

    name: str
    phase: str
    checkpoint: int
    through: int
    owner: str | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, as of one snapshot."""

    head: int
    projections: list[ProjectionStatus]
    sources: list[SourceStatus]
    dead_letters: list[LetterCount]
    audit: AuditStatus
    rebuilds: list[BuildStatus] = []
    silences: list[Silence] = []
    probe: ProbeStatus | None = None
    troubles: list[Trouble] = []

    @property
    def sentence(self) -> str:
        """The state in one sentence: all is well, or what is not and what to type, that first."""
        is_behind = bool(self.idle or self.catching_up)
        # First of all: what is not there is not in step either.
        parts = [self.probe.clause] if self.probe is not None and self.probe.missing else []
        parts += [trouble.clause for trouble in self.troubles]
        parts += [self._of_projections()] if is_behind else []
        parts += [*self._of_sources(), *self._of_silences()]
        if self.audit.differences:
            found = counted(self.audit.differences, "difference")
            parts.append(f"the audit found {found}: projector verify")
        unfinished = [r.name for r in self.rebuilds if r.owner is None]
        if unfinished:
            parts.append(
                f"an unfinished rebuild of {', '.join(unfinished)}: projector rebuild "
                f"{' '.join(unfinished)} goes on with it, with --abandon it removes it"
            )
        parts += [] if is_behind else [self._of_projections()]
        letters = sum(letter.count for letter in self.dead_letters)
        if letters:
            parts.append(f"{counted(letters, 'dead letter')}: projector dead-letters list")
        return "; ".join(parts) + "."

    @property
    def idle(self) -> list[str]:
        """The projections that are behind and run by nobody."""
        return [p.name for p in self.projections if p.lag_events > 0 and p.owner is None]

    @property
    def catching_up(self) -> list[ProjectionStatus]:
        """The projections that are behind by more than what is on its way."""
        return [p for p in self.projections if p.lag_events > 0 and p.lag_seconds > IN_STEP_SECONDS]

    @property
    def level(self) -> str:
        """How bad it is: `bad` (data is wrong, or nobody does the work), `warn`, or `good`."""
        stopped = any(s.owner is None for s in self.sources if s.is_in_use)
        incomplete = self.probe is not None and self.probe.missing > 0
        grave = any(trouble.level == "bad" for trouble in self.troubles)
        if self.idle or self.audit.differences or stopped or incomplete or grave:
            return "bad"
        silent = self.silences or any(s.is_silent for s in self.sources)
        unfinished = any(r.owner is None for r in self.rebuilds)
        # Bad records are the network's everyday; what Postgres refuses is for somebody to look at.
        refused = any(letter.stage == "apply" for letter in self.dead_letters)
        warned = silent or self.catching_up or refused or unfinished or self.troubles
        return "warn" if warned else "good"

    def _of_projections(self) -> str:
        idle, behind = self.idle, self.catching_up
        if idle:
            return f"{', '.join(idle)} behind and run by nobody: projector run"
        if behind:
            worst = max(behind, key=lambda p: p.lag_events)
            return (
                f"{len(behind)} of {len(self.projections)} projections are catching up, "
                f"{worst.name} is {worst.lag_events:,} events behind"
            )
        late = max((p.lag_seconds for p in self.projections), default=0.0)
        proven = self.audit.proven or self.audit.complete_as_of is not None
        found = ", 0 differences" if proven and not self.audit.differences else ""
        return (
            f"All {len(self.projections)} projections are in step with the log: "
            f"{self.head:,} events, {late:.1f} s behind{found}"
        )

    def _of_sources(self) -> list[str]:
        stopped = [
            f"{s.name} is ingested by nobody: projector ingest {s.name}"
            for s in self.sources
            if s.is_in_use and s.owner is None
        ]
        silent = [
            f"{s.name} has brought nothing for {s.idle_seconds:,.0f} s: projector doctor {s.name}"
            for s in self.sources
            if s.is_silent
        ]
        return stopped + silent

    def _of_silences(self) -> list[str]:
        clauses = [f"{s.clause}: projector probe" for s in self.silences[:SILENCES_SAID_MAX]]
        if more := len(self.silences) - len(clauses):
            clauses.append(f"{more:,} more collections are as silent")
        return clauses


def counted(number: int, noun: str) -> str:
    """So many of something, in words."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


async def read_status(connection: asyncpg.Connection, declarations: Sequence[Kept]) -> Status:
    """Reads the status in one snapshot."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        head = await read_head(connection)
        rows = {row[0]: row for row in await connection.fetch(CHECKPOINTS, RATE_SECONDS)}
        source_rows = await connection.fetch(SOURCES, RATE_SECONDS)
        letters = [
            LetterCount(where=where, stage=stage, reason=reason, count=count)
            for where, stage, reason, count in await connection.fetch(LETTERS)
        ]
        audit = await read_audit(connection)
        builds = await connection.fetch(BUILDS)
        rhythms = await read_rhythms(connection)
        probe = await read_probe(connection)
        pending = {row[0]: (row[1], row[2]) for row in await connection.fetch(PENDING)}
    alls = {rhythm.source: rhythm for rhythm in rhythms if rhythm.collection == ALL}
    sources = [_source(row, alls.get(row[0])) for row in source_rows]
    heard = {s.name for s in sources if s.is_in_use and s.owner and not s.is_silent}
    projections = [
        _projection(declaration, rows, pending, letters, head)
        for declaration in declarations
        if declaration.name in rows
    ]
    return Status(
        head=head,
        projections=projections,
        sources=sources,
        dead_letters=letters,
        audit=audit,
        rebuilds=[
            BuildStatus(name=name, phase=phase, checkpoint=at, through=through, owner=owner)
            for name, phase, at, through, owner in builds
        ],
        silences=[silence for silence in silences(rhythms) if silence.source in heard],
        probe=probe,
    )


async def read_audit(connection: asyncpg.Connection) -> AuditStatus:
    """How far the rolling audit is."""
    row = await connection.fetchrow(AUDIT)
    accounts, proven, as_of, complete, differences = row or (0, 0, 0, None, 0)
    return AuditStatus(
        accounts=accounts,
        proven=proven,
        as_of=as_of,
        complete_as_of=complete,
        differences=differences,
    )


def _source(row: asyncpg.Record, rhythm: Rhythm | None) -> SourceStatus:
    name, cursor, events, duplicates, undecodable, skipped, size, owner, rate, idle = row
    return SourceStatus(
        name=name,
        cursor=cursor,
        events=events,
        duplicates=duplicates,
        undecodable=undecodable,
        skipped=msgspec.json.decode(skipped, type=dict[str, int]),
        message_bytes=size,
        events_per_second=round(rate, 1),
        idle_seconds=round(idle, 3),
        owner=owner,
        quiet_after_seconds=_quiet_after_seconds(rhythm),
    )


def kind_of(declaration: Kept) -> str:
    """What a declaration keeps: a table of records, an aggregate, or a derived table."""
    if isinstance(declaration, Fed):
        return "aggregate" if isinstance(declaration, Aggregate) else "derived"
    return "table"


def _quiet_after_seconds(rhythm: Rhythm | None) -> float | None:
    after = quiet_after_seconds(rhythm) if rhythm is not None else None
    if after is None:
        return SILENT_SECONDS
    return round(after, 1) if math.isfinite(after) else None


def _projection(
    declaration: Kept,
    rows: dict[str, asyncpg.Record],
    pending: dict[str, tuple[int, int]],
    letters: Sequence[LetterCount],
    head: int,
) -> ProjectionStatus:
    name, version, offset, events, owner, rate, age = rows[declaration.name]
    waiting, oldest = pending.get(name, (0, 0))
    if isinstance(declaration, Fed):
        # An aggregate is as far as the projections that it counts, less what waits in the outbox.
        feeding = [rows[c.of.name] for c in declaration.counters.values() if c.of.name in rows]
        behind = min(feeding, key=lambda row: int(row[2]), default=None)
        if behind is not None:
            offset, age = behind[2], behind[6]
        if waiting:
            offset = min(offset, oldest - 1)
    return ProjectionStatus(
        name=name,
        kind=kind_of(declaration),
        version=version,
        checkpoint=offset,
        lag_events=max(head - offset, 0),
        lag_seconds=round(max(age or 0.0, 0.0), 3),
        events_per_second=round(rate, 1),
        events=events,
        pending_rows=waiting,
        dead_letters=sum(letter.count for letter in letters if letter.where == name),
        owner=owner,
    )
