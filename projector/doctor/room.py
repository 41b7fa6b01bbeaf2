"""Room: on the server's disk, at the pace at which it fills; and for our connections."""

from __future__ import annotations

from typing import Final

from projector.declare import Fed
from projector.disk import read_disk
from projector.doctor.finding import Case, Finding, Severity, size

AREA: Final = "room"
DAY: Final = 86_400
DAYS: Final[tuple[tuple[float, Severity], ...]] = ((2.0, "bad"), (14.0, "warn"))
SHARES: Final[tuple[tuple[float, Severity], ...]] = ((0.03, "bad"), (0.1, "warn"))

BYTES_PER_EVENT: Final = 1_644
"""Of log and tables, as measured over ten million events (ops/bench/RESULTS.md)."""

EVENTS_MIN: Final = 100_000
"""With fewer in the log the database's size says nothing of what one takes."""

CONNECTIONS_BESIDE: Final = 12
"""Ingest, reader, leases, audit, housekeeping, status, probe, and a tool or two."""

CONNECTIONS: Final = """
SELECT current_setting('max_connections')::int
    - current_setting('superuser_reserved_connections')::int
    - coalesce(current_setting('reserved_connections', true)::int, 0),
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
        AND application_name NOT LIKE 'projector/%'),
    coalesce((SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user), 1000000),
    coalesce((SELECT nullif(datconnlimit, -1) FROM pg_database
        WHERE datname = current_database()), 1000000)
"""
GROWTH: Final = """
SELECT (SELECT head FROM projector.log_head), pg_database_size(current_database()),
    greatest((SELECT coalesce(sum(events), 0) FROM projector.rate WHERE seconds = 3600
        AND collection = '' AND begins > extract(epoch FROM now()) - 86400),
    (SELECT coalesce(sum(events_per_second), 0) * 86400 FROM projector.source_cursor
        WHERE updated_at > now() - interval '1 minute'))::float8
"""


async def check(case: Case) -> list[Finding]:
    """Disk and connections."""
    return [*await _disk(case), *await _connections(case)]


async def _disk(case: Case) -> list[Finding]:
    disk = await read_disk(case.connection)
    if disk is None:
        return [
            Finding(
                area=AREA,
                name="disk-unseen",
                severity="note",
                cause="the server's disk cannot be seen from here",
                cure="type df -h there for its data_directory, or doctor as a superuser there",
            )
        ]
    return judge_disk(disk.free_bytes, disk.total_bytes, await _bytes_a_day(case))


async def _bytes_a_day(case: Case) -> float:
    if not case.has_engine:
        return 0.0
    row = await case.connection.fetchrow(GROWTH)
    assert row is not None
    head, database_bytes, events = row
    return float(events) * (database_bytes / head if head >= EVENTS_MIN else BYTES_PER_EVENT)


def judge_disk(free: float, total: float, bytes_a_day: float) -> list[Finding]:
    """Whether what is free lasts, in bytes and bytes a day."""
    days = free / bytes_a_day if bytes_a_day else float("inf")
    severity = _worst([_judged(days, DAYS), _judged(free / total, SHARES)])
    if severity is None:
        return []
    lasts = f", and {size(bytes_a_day)} come a day: it lasts {days:.1f} days" if bytes_a_day else ""
    cause = f"{size(free)} of {size(total)} are free{lasts}"
    cure = "projector archive --to /mnt/archive --older-than-days 7, or a larger disk"
    return [Finding(area=AREA, name="disk", severity=severity, cause=cause, cure=cure)]


def _judged(value: float, limits: tuple[tuple[float, Severity], ...]) -> Severity | None:
    return next((severity for limit, severity in limits if value < limit), None)


def _worst(found: list[Severity | None]) -> Severity | None:
    return "bad" if "bad" in found else next((s for s in found if s is not None), None)


async def _connections(case: Case) -> list[Finding]:
    row = await case.connection.fetchrow(CONNECTIONS)
    assert row is not None
    allowed, others, of_role, of_database = row
    fed = sum(isinstance(d, Fed) for d in case.declarations)
    # A projection applies over one connection, and looks ahead over another.
    needed = 2 * (len(case.declarations) - fed) + fed + CONNECTIONS_BESIDE
    free = min(allowed - others, of_role, of_database)
    if free >= needed:
        return []
    return [
        Finding(
            area=AREA,
            name="connections",
            severity="warn",
            cause=f"{free} connections can be had, and up to {needed} are needed for "
            f"{len(case.declarations)} projections and what is beside them",
            cure=f"ALTER SYSTEM SET max_connections = {allowed + needed - free + 10}; then restart "
            "the server (see CONNECTION LIMIT of role and database as well)",
        )
    ]
