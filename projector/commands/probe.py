"""`probe`: is what an independent upstream says in the log and in the tables?"""

from __future__ import annotations

from datetime import UTC, datetime

from projector import schema
from projector.completeness import ProbeReport, Share, percent
from projector.declare import Projection
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import CheckFailed, UsageError
from projector.output import console, errors, print_json, table
from projector.probe import Probe, independent_upstream
from projector.sources import source_of

SHOWN_MAX = 20
BEHIND_SECONDS = 10.0
"""A log that is further behind has probably not lost what it does not have."""

SOURCES = "SELECT source FROM projector.source_cursor"


async def probe(
    *,
    seconds: float | None = None,
    upstream: str | None = None,
    grace_seconds: float | None = None,
    common: Common = COMMON,
) -> None:
    """Listen to another host, and tell what share of what it says is in the log and the tables.

    Ends with 1 where anything is missing: it says what, of which collections and hosts, and since
    when. The PDS host of an account is known where the log's newest events have its DID document.
    Use the same `collections` as ingest does: what is not wanted there would be missing here.

    Parameters
    ----------
    seconds
        How long to listen [setting probe_seconds].
    upstream
        A Jetstream host, such as wss://HOST/subscribe [setting probe_upstream; else the last of
        the public hosts that is no source].
    grace_seconds
        How long to wait after that before looking [setting probe_grace_seconds].
    """
    chosen = settings()
    seconds = chosen.probe_seconds if seconds is None else seconds
    grace_seconds = chosen.probe_grace_seconds if grace_seconds is None else grace_seconds
    if seconds <= 0 or grace_seconds < 0:
        raise UsageError("--seconds is more than 0, and --grace-seconds at least 0")
    projections = [d for d in declared() if isinstance(d, Projection)]
    async with opened(common, chosen) as database:
        connection = await database.first_connect("probe")
        try:
            await schema.check(connection, projections)
            sources = [row[0] for row in await connection.fetch(SOURCES)]
        finally:
            await connection.close()
        named = upstream or chosen.probe_upstream or independent_upstream(sources)
        report = await Probe(
            database,
            source_of(named, chosen),
            projections,
            chosen.schema,
            seconds=seconds,
            grace_seconds=grace_seconds,
            say=lambda line: None if common.json else errors.print(line, soft_wrap=True),
        ).run()
    if common.json:
        print_json(report)
    else:
        _print(report)
    if not report.is_complete:
        raise CheckFailed(_complaint(report))


def _print(report: ProbeReport) -> None:
    console.print(_table("collection", report.collections))
    if len(report.hosts) > 1:
        console.print(_table("PDS host", report.hosts))
    if report.samples:
        columns = ("missing in", "uri", "action", "rev", "at, UTC")
        rows = [
            (m.missing_in, m.uri, m.action, m.rev, _time(m.at)) for m in report.samples[:SHOWN_MAX]
        ]
        console.print(table("missing", columns, rows))
    if report.looked_at < 1:
        console.print(f"Of the records {report.looked_at:.3g} were looked for: more came than fit.")
    if report.not_applied:
        console.print(f"{report.not_applied:,} records are in the log and not yet applied.")
    if report.is_complete:
        console.print(
            f"[bold green]complete[/]: all {report.total.seen:,} commits that {report.upstream} "
            f"brought in {report.listened_seconds:g} s are in the log, and the "
            f"{report.total.expected:,} rows that they make are in the tables.",
            soft_wrap=True,
        )


def _table(what: str, shares: list[Share]) -> object:
    columns = (what, "seen", "in the log", "rows due", "in the tables", "missing since, UTC")
    rows = [
        (
            s.name, s.seen, percent(s.seen - s.missing, s.seen), s.expected,
            percent(s.expected - s.missing_in_tables, s.expected) if s.expected else None,
            _time(s.missing_since) if s.missing_since else None,
        )
        for s in shares
    ]  # fmt: skip
    return table(f"by {what}", columns, rows)


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _complaint(report: ProbeReport) -> str:
    total = report.total
    parts = []
    if total.missing:
        parts.append(f"{percent(total.missing, total.seen)} of the commits are not in the log")
    if total.missing_in_tables:
        parts.append(
            f"{percent(total.missing_in_tables, total.expected)} of the rows are not in the "
            "tables: projector verify --rows says why"
        )
    if report.behind_seconds > BEHIND_SECONDS:
        parts.append(
            f"the log is {report.behind_seconds:,.0f} s behind {report.upstream}, and what comes "
            "late counts as missing: raise --grace-seconds, or wait until it has caught up"
        )
    elif total.missing:
        parts.append(
            "see whether ingest wants all collections, and make its source begin earlier: "
            "projector ingest with an address that has cursor="
        )
    return "; ".join(parts)
