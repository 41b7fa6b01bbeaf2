"""Why a server cannot be reached: the causes that newcomers meet, each with its cure."""

from __future__ import annotations

from typing import Final

import asyncpg

from projector.database import one_line
from projector.doctor.finding import Finding

AREA: Final = "connection"
POOLER_CURE: Final = (
    "name the server itself by --database; a pooler must be in session mode (pgbouncer: pool_mode "
    "= session, and ignore_startup_parameters for what it names)"
)


def unreachable(error: BaseException, place: str) -> Finding:
    """What the error of a connection means; `place` is the URL, masked."""
    name, cure = _known(error)
    cause = f"cannot connect to {place}: {one_line(error)}"
    return Finding(area=AREA, name=name, severity="bad", cause=cause, cure=cure)


def _known(error: BaseException) -> tuple[str, str]:
    text = str(error)
    if "startup parameter" in text or "prepared statement" in text:
        return "pooler", POOLER_CURE
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return "no-database", "createdb -E UTF8 -T template0 NAME, or name another by --database"
    if isinstance(error, asyncpg.InvalidPasswordError):
        return "password", "put the right password into --database, or into PGPASSWORD or ~/.pgpass"
    if isinstance(error, asyncpg.TooManyConnectionsError):
        return "too-many-connections", "ALTER SYSTEM SET max_connections = 100; then restart it"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return "not-allowed", "add a line for this user and host to pg_hba.conf; pg_ctl reload"
    if isinstance(error, TimeoutError):
        return "no-answer", "see whether a firewall is between, and whether the address is right"
    if isinstance(error, OSError):
        return "refused", "start the server; see listen_addresses, and the port in --database"
    return "refused", "see the server's log; check --database (or PROJECTOR_DATABASE_URL)"
