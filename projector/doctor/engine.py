"""Our own state: migrations, versions, who runs what, indexes of sealed partitions."""

from __future__ import annotations

from typing import Final

from projector import schema
from projector.declare import Declaration
from projector.doctor.finding import Case, Finding, Severity
from projector.errors import SchemaMismatch
from projector.partitions import UNINDEXED
from projector.status import read_status

AREA: Final = "engine"
CURSOR_SECONDS_MAX: Final = 86_400.0
"""Jetstream hosts keep about a day."""

UNKNOWN: Final = """
SELECT projection FROM projector.checkpoint
WHERE NOT projection = ANY($1::text[]) AND position('@' in projection) = 0 ORDER BY 1
"""
CURSORS: Final = """
SELECT source, extract(epoch FROM now())::float8 - cursor::float8 / 1000000
FROM projector.source_cursor
WHERE (source = 'jetstream' OR source LIKE 'ws:%' OR source LIKE 'wss:%') AND cursor ~ '^[0-9]{16}$'
ORDER BY source
"""


async def check(case: Case) -> list[Finding]:
    """Migrations and versions first: without them nothing else can be read."""
    if not case.has_engine:
        return [_finding("no-engine", "warn", "the database has no projector schema",
                         "projector init")]  # fmt: skip
    mismatch = await _mismatch(case, [])
    if mismatch is not None:
        return [_of_mismatch("migrations", mismatch)]
    found = []
    for declaration in case.declarations:
        mismatch = await _mismatch(case, [declaration])
        if mismatch is not None:
            found.append(_of_mismatch("projection-version", mismatch))
    return [
        *found, *await _unknown(case), *await _unindexed(case), *await _cursors(case),
        *await _status(case),
    ]  # fmt: skip


async def _mismatch(case: Case, declarations: list[Declaration]) -> SchemaMismatch | None:
    try:
        await schema.check(case.connection, declarations)
    except SchemaMismatch as mismatch:
        return mismatch
    return None


def _of_mismatch(name: str, mismatch: SchemaMismatch) -> Finding:
    cause, _, cure = str(mismatch).partition("; ")
    return _finding(name, "bad", cause, cure.removeprefix("run: "))


async def _unknown(case: Case) -> list[Finding]:
    names = [declaration.name for declaration in case.declarations]
    rows = [row[0] for row in await case.connection.fetch(UNKNOWN, names)]
    if not rows:
        return []
    return [_finding("not-kept", "note", f"{', '.join(rows)}: in the database, and not among what "
                     "this program keeps: nobody brings it up to date",
                     "see PROJECTOR_PROJECTIONS, and which packages are installed")]  # fmt: skip


async def _unindexed(case: Case) -> list[Finding]:
    names = [row["table_name"] for row in await case.connection.fetch(UNINDEXED)]
    if not names:
        return []
    many = "partitions of the log have" if len(names) > 1 else "partition of the log has"
    cause = (
        f"{len(names)} full {many} no index by account, such as {names[0]}: heal, explain and the "
        "audit read them whole"
    )
    cure = "projector run, which makes them within a minute"
    return [_finding("unindexed-partition", "warn", cause, cure)]


async def _cursors(case: Case) -> list[Finding]:
    return [
        _finding("old-cursor", "warn", f"{source} stopped {age / 3600:,.0f} hours ago: its host "
                 "may no longer have what came since", f"projector ingest {source}, at once; then "
                 "projector probe")
        for source, age in await case.connection.fetch(CURSORS)
        if age > CURSOR_SECONDS_MAX
    ]  # fmt: skip


async def _status(case: Case) -> list[Finding]:
    status = await read_status(case.connection, case.declarations)
    if status.level == "good":
        return []
    severity: Severity = "bad" if status.level == "bad" else "warn"
    return [_finding("status", severity, status.sentence.rstrip("."),
                     "what stands after each colon; projector status has the whole")]  # fmt: skip


def _finding(name: str, severity: Severity, cause: str, cure: str) -> Finding:
    return Finding(area=AREA, name=name, severity=severity, cause=cause, cure=cure)
