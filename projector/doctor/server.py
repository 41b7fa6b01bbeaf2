"""The server: its version, encoding, collations, and whether we talk to it and not to a pooler."""

from __future__ import annotations

from typing import Final

from projector.database import SERVER_VERSION_MIN
from projector.doctor.finding import Case, Finding
from projector.doctor.reaching import POOLER_CURE

AREA: Final = "server"

DATABASE: Final = """
SELECT current_database()::text, pg_encoding_to_char(encoding), datcollversion,
    CASE WHEN datcollversion IS NULL THEN NULL ELSE pg_database_collation_actual_version(oid) END,
    pg_is_in_recovery(), current_setting('transaction_read_only') = 'on'
FROM pg_database WHERE datname = current_database()
"""
# Keys are compared by the engine byte by byte; so must the server.
COLLATED: Final = """
SELECT format('%I.%I', c.relname, a.attname), coalesce(l.collname, '')
FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped
JOIN pg_index AS i ON i.indrelid = c.oid AND a.attnum = ANY(i.indkey)
JOIN pg_collation AS l ON l.oid = a.attcollation
WHERE c.relnamespace = to_regnamespace($1) AND l.collname NOT IN ('C', 'POSIX', 'ucs_basic')
    AND NOT (l.collname = 'default' AND (SELECT datcollate IN ('C', 'POSIX')
        FROM pg_database WHERE datname = current_database()))
GROUP BY 1, 2 ORDER BY 1 LIMIT 5
"""


async def check(case: Case) -> list[Finding]:
    """Version, encoding, collations, read-only, pooler."""
    found = []
    version = case.connection.get_server_version()
    if version.major < SERVER_VERSION_MIN:
        found.append(
            _bad("version", f"it is PostgreSQL {version.major}; {SERVER_VERSION_MIN} or newer is "
                 "needed", f"pg_upgrade to {SERVER_VERSION_MIN} or newer")
        )  # fmt: skip
    row = await case.connection.fetchrow(DATABASE)
    assert row is not None
    name, encoding, recorded, actual, is_standby, is_read_only = row
    if encoding != "UTF8":
        found.append(
            _bad("encoding", f"the database {name} is encoded in {encoding}: records hold any text",
                 f"createdb -E UTF8 -T template0 {name}_utf8, and name that by --database")
        )  # fmt: skip
    if recorded != actual:
        found.append(
            _warn("collation-version", f"the system's collations are of version {actual}, and "
                  f"indexes of {name} were made with {recorded}",
                  f'REINDEX DATABASE "{name}"; ALTER DATABASE "{name}" REFRESH COLLATION VERSION')
        )  # fmt: skip
    if is_read_only:
        cure = "name the primary by --database" if is_standby else (
            f'ALTER DATABASE "{name}" RESET default_transaction_read_only; see the role\'s as well'
        )  # fmt: skip
        what = "it is a standby" if is_standby else "default_transaction_read_only is on"
        found.append(_bad("read-only", f"nothing can be written: {what}", cure))
    found += await _collations(case)
    return found + await _pooler(case)


async def _collations(case: Case) -> list[Finding]:
    rows = await case.connection.fetch(COLLATED, case.settings.schema)
    return [
        _warn("collation", f"the key {column} is ordered by {collation}, and the engine's keys by "
              "bytes: look-ups are slower, and an upgrade of the system may break its index",
              f'ALTER TABLE {case.settings.schema}.{column.partition(".")[0]} ALTER COLUMN '
              f'{column.partition(".")[2]} TYPE varchar COLLATE "C"')
        for column, collation in rows
    ]  # fmt: skip


async def _pooler(case: Case) -> list[Finding]:
    # The server's process says who it is when it is asked, and when the connection begins.
    told = case.connection.get_server_pid()
    if await case.connection.fetchval("SELECT pg_backend_pid()") == told:
        return []
    cause = (
        "a pooler answers in the server's place; leases, NOTIFY and prepared statements need a "
        "session of their own"
    )
    return [_warn("pooler", cause, POOLER_CURE)]


def _bad(name: str, cause: str, cure: str) -> Finding:
    return Finding(area=AREA, name=name, severity="bad", cause=cause, cure=cure)


def _warn(name: str, cause: str, cure: str) -> Finding:
    return Finding(area=AREA, name=name, severity="warn", cause=cause, cure=cure)
