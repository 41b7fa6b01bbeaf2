"""Completeness as numbers: what a probe of an independent upstream found, and where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec

from projector.silence import moment

COLLECTIONS_MAX: Final = 100
OTHERS: Final = "others"
"""In place of the collections, or hosts, that come after the first `COLLECTIONS_MAX`."""

COLLECTIONS_KEPT_MAX: Final = 2 * COLLECTIONS_MAX
"""Of how many the database keeps what all probes found."""

SPOKEN_OF_SECONDS_MAX: Final = 3_600.0
"""What a probe found longer ago is no longer said."""

PUT: Final = """
INSERT INTO projector.probe (upstream, begun_at, report) VALUES ($1, to_timestamp($2), $3::jsonb)
ON CONFLICT (one_row) DO UPDATE SET upstream = excluded.upstream, begun_at = excluded.begun_at,
    ended_at = now(), report = excluded.report
"""
UNSEEN: Final = """
UPDATE projector.probe_share SET seen = 0, missing = 0, missing_in_tables = 0
WHERE NOT collection = ANY($1::text[])
"""
# Since when: from the first probe on that found anything missing, until one finds nothing.
PUT_SHARES: Final = """
INSERT INTO projector.probe_share AS s (collection, seen, missing, missing_in_tables, missing_since,
    seen_total, missing_total)
SELECT c, seen, missing, tables, to_timestamp(since), seen, missing + tables
FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::float8[])
    AS n(c, seen, missing, tables, since)
ON CONFLICT (collection) DO UPDATE SET seen = excluded.seen, missing = excluded.missing,
    missing_in_tables = excluded.missing_in_tables,
    missing_since = CASE WHEN excluded.missing + excluded.missing_in_tables > 0
        THEN coalesce(s.missing_since, excluded.missing_since) END,
    seen_total = s.seen_total + excluded.seen_total,
    missing_total = s.missing_total + excluded.missing_total
"""
# Anybody may invent collections: those with nothing missing, and seen least, are forgotten.
PRUNE: Final = """
DELETE FROM projector.probe_share WHERE collection IN (
    SELECT collection FROM projector.probe_share
    ORDER BY missing_since IS NULL, seen_total DESC, collection OFFSET $1)
"""
PROBE: Final = """
SELECT upstream, extract(epoch FROM begun_at)::float8,
    extract(epoch FROM clock_timestamp() - ended_at)::float8 FROM projector.probe
"""
SHARES: Final = """
SELECT collection, seen, missing, missing_in_tables, extract(epoch FROM missing_since)::float8,
    seen_total, missing_total
FROM projector.probe_share ORDER BY missing + missing_in_tables DESC, seen DESC, collection
"""


class Share(msgspec.Struct, kw_only=True):
    """Of the commits seen of a collection, or of a host, how many are where they should be.

    `missing` are not in the log. `expected` should have left a row, as far as projections have
    applied the log; of them `missing_in_tables` have none. `missing_since` is the time of the first
    that is missing, in seconds since 1970.
    """

    name: str
    seen: int = 0
    missing: int = 0
    expected: int = 0
    missing_in_tables: int = 0
    missing_since: float | None = None

    def lost(self, at: float) -> None:
        """Notes the time of one that is missing."""
        self.missing_since = at if self.missing_since is None else min(self.missing_since, at)

    def add(self, other: Share) -> None:
        """Adds another's numbers."""
        self.seen += other.seen
        self.missing += other.missing
        self.expected += other.expected
        self.missing_in_tables += other.missing_in_tables
        if other.missing_since is not None:
            self.lost(other.missing_since)


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """One that is missing: in the log, or in the table of that name, though the log has it."""

    uri: str
    rev: str
    action: str
    at: float
    missing_in: str


class ProbeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one probe found.

    `looked_at` is the share of records that was kept and looked for, 1 unless more came than a
    probe keeps. `not_applied` are commits that the log has and a projection had yet to apply.
    `behind_seconds` is how much older the log's last event was than the last one seen.
    """

    upstream: str
    begun_at: float
    listened_seconds: float
    grace_seconds: float
    looked_at: float
    behind_seconds: float
    not_applied: int
    collections: list[Share]
    hosts: list[Share]
    samples: list[Missing]

    @property
    def total(self) -> Share:
        """All collections together."""
        total = Share(name="all")
        for share in self.collections:
            total.add(share)
        return total

    @property
    def is_complete(self) -> bool:
        """Whether nothing is missing."""
        return not any(s.missing or s.missing_in_tables for s in self.collections)


class ShareStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Of a collection: the last probe, since when anything is missing, and the sums of all."""

    collection: str
    seen: int
    missing: int
    missing_in_tables: int
    missing_since: float | None
    seen_total: int
    missing_total: int

    @property
    def complete_ratio(self) -> float:
        """The share that is neither missing in the log nor in tables; 1 where none was seen."""
        return 1.0 - min(1.0, (self.missing + self.missing_in_tables) / max(self.seen, 1))


class ProbeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon's last probe."""

    upstream: str
    begun_at: float
    age_seconds: float
    shares: list[ShareStatus]

    @property
    def missing(self) -> int:
        """How many were missing; nothing is said of a probe of long ago."""
        if self.age_seconds > SPOKEN_OF_SECONDS_MAX:
            return 0
        return sum(share.missing + share.missing_in_tables for share in self.shares)

    @property
    def clause(self) -> str:
        """What is missing, in words, with what to type."""
        wrong = [s for s in self.shares if s.missing + s.missing_in_tables]
        clause = missing_clause(wrong[0], self.age_seconds + self.begun_at)
        others = len(wrong) - 1
        noun = "collection" if others == 1 else "collections"
        more = f", and some of {others} more {noun}" if others else ""
        return f"{clause}{more}: projector probe"


def missing_clause(share: ShareStatus, now: float) -> str:
    """Of a collection of which something is missing: how much, and since when."""
    lost = share.missing + share.missing_in_tables
    where = "" if share.missing else " in the tables"
    text = f"{percent(lost, share.seen)} of {share.collection} records are missing{where}"
    if share.missing_since is None:
        return text
    return f"{text} since {moment(share.missing_since, now - share.missing_since)}"


def percent(part: int, whole: int) -> str:
    """A share as people read it; all or nothing only where it is."""
    if part >= whole:
        return "100 %"
    share = 100 * part / whole
    if share > 99.9:
        return "more than 99.9 %"
    return f"{share:.1f} %" if share >= 0.1 or not part else f"{share:.1g} %"


def bounded(shares: Sequence[Share]) -> list[Share]:
    """The shares with the most missing, then with the most seen; those beyond the most that are
    kept as one."""
    order = sorted(shares, key=lambda s: (-s.missing - s.missing_in_tables, -s.seen, s.name))
    kept = order[:COLLECTIONS_MAX]
    if len(order) > COLLECTIONS_MAX:
        others = Share(name=OTHERS)
        for share in order[COLLECTIONS_MAX:]:
            others.add(share)
        kept.append(others)
    return kept


async def put_report(connection: asyncpg.Connection, report: ProbeReport) -> None:
    """Keeps what a probe found, in one transaction."""
    shares = sorted(report.collections, key=lambda share: share.name)
    columns = [
        [getattr(share, name) for share in shares]
        for name in ("name", "seen", "missing", "missing_in_tables", "missing_since")
    ]
    async with connection.transaction():
        json = msgspec.json.encode(report).decode()
        await connection.execute(PUT, report.upstream, report.begun_at, json)
        await connection.execute(UNSEEN, columns[0])
        await connection.execute(PUT_SHARES, *columns)
        await connection.execute(PRUNE, COLLECTIONS_KEPT_MAX)


async def read_probe(connection: asyncpg.Connection) -> ProbeStatus | None:
    """What the daemon's last probe found; None where there was none."""
    row = await connection.fetchrow(PROBE)
    if row is None:
        return None
    fields = ShareStatus.__struct_fields__
    shares = [
        ShareStatus(**dict(zip(fields, share, strict=True)))
        for share in await connection.fetch(SHARES)
    ]
    upstream, begun_at, age = row
    return ProbeStatus(
        upstream=upstream, begun_at=begun_at, age_seconds=round(age, 1), shares=shares
    )
