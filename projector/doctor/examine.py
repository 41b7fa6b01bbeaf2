"""One examination: every area in turn; what cannot be looked at is said, and the rest goes on."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Final

import asyncpg

from projector.database import SERVER_ERRORS, Database, close_quietly, masked, one_line
from projector.declare import Declaration
from projector.doctor import activity, engine, rights, room, server, speed, tuning, upstream
from projector.doctor.finding import ORDER, Case, Finding
from projector.doctor.reaching import unreachable
from projector.rates import is_live
from projector.settings import Settings
from projector.sources import source_of

CHECKS: Final[tuple[tuple[str, str, Callable[[Case], Awaitable[list[Finding]]]], ...]] = (
    (server.AREA, "version, encoding, collations, no pooler", server.check),
    (tuning.AREA, "nothing that costs data or much speed", tuning.check),
    (speed.AREA, "round trip and commit are quick", speed.check),
    (rights.AREA, "the role may do all work", rights.check),
    (room.AREA, "disk and connections suffice", room.check),
    (activity.AREA, "nobody holds back vacuum or WAL; the clocks agree", activity.check),
    (engine.AREA, "migrations, versions, partitions; all is in step", engine.check),
)
UNREACHED: Final = (*SERVER_ERRORS, ValueError)
SOURCES: Final = "SELECT source FROM projector.source_cursor ORDER BY source"
SOURCES_MAX: Final = 8
STATEMENT_SECONDS_MAX: Final = 30.0


# Not by to_regclass: it refuses to say where the schema may not be used.
HAS_ENGINE: Final = """
SELECT EXISTS (SELECT FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'projector' AND c.relname = 'migration')
"""


async def examine(
    database: Database,
    declarations: Sequence[Declaration],
    settings: Settings,
    source: str | None = None,
    *,
    clock: Callable[[], float] = time.time,
) -> list[Finding]:
    """Looks at everything; the worst first. Without a source, at those that the database knows.

    Raises `UsageError` for a source that is none.
    """
    sources = [] if source is None else [(source_of(source, settings).name, source)]
    found: list[Finding] = []
    try:
        # By our own clock, not by statement_timeout: the server's own is to be seen.
        impatient = replace(database, command_timeout_seconds=STATEMENT_SECONDS_MAX)
        connection = await impatient.connect("doctor")
    except UNREACHED as error:
        found.append(unreachable(error, masked(database.url)))
    else:
        try:
            has_engine = await connection.fetchval(HAS_ENGINE)
            case = Case(database, connection, declarations, settings, has_engine, clock)
            for area, well, check in CHECKS:
                found += await _looked(area, well, check(case))
            if source is None and has_engine:
                sources = await _sources(connection)
        finally:
            await close_quietly(connection)
    for name, text in sources:
        looking = upstream.check(text, settings.stream_group, clock)
        found += await _looked(upstream.AREA, f"{name} answers", looking)
    return sorted(found, key=lambda finding: ORDER.index(finding.severity))


async def _looked(area: str, well: str, looking: Awaitable[list[Finding]]) -> list[Finding]:
    try:
        found = await looking
    except SERVER_ERRORS as error:
        cause = f"cannot be looked at: {one_line(error)}"
        cure = "see the rights of the role in use, and the server's log"
        return [Finding(area=area, name="unseen", severity="note", cause=cause, cure=cure)]
    return found or [Finding(area=area, name="well", severity="good", cause=well)]


async def _sources(connection: asyncpg.Connection) -> list[tuple[str, str]]:
    """The live sources that were ever ingested; their names hold no password."""
    try:
        rows = await connection.fetch(SOURCES)
    except asyncpg.PostgresError:
        return []
    return [(row[0], row[0]) for row in rows if is_live(row[0])][:SOURCES_MAX]
