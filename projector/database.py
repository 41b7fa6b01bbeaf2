"""Connections to Postgres: how they are made, and which of its errors mean what."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
from tenacity import (
    AsyncRetrying,
    RetryCallState,
    retry_if_exception,
    stop_after_delay,
    stop_never,
    wait_random_exponential,
)

from projector import tally
from projector.errors import CannotConnect, CheckpointMoved, Corruption, SchemaMismatch
from projector.pulse import PULSE

log = logging.getLogger(__name__)

SERVER_VERSION_MIN: Final = 15

# Hot statements find rows by key and nothing else, whatever the planner believes of an array's
# length or of a table that was empty when it last looked (invariant 9).
APPLY_SETTINGS: Final = {
    "synchronous_commit": "off",
    "jit": "off",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_material": "off",
    # Holders of claims are asked for in the claim's order, which only its own index gives.
    "enable_sort": "off",
    "enable_incremental_sort": "off",
    # A window's keys may look like much to the planner: starting workers takes longer than to find
    # them.
    "max_parallel_workers_per_gather": "0",
}

COMMON_SETTINGS: Final = {
    "timezone": "UTC",
    "jit": "off",
    "idle_in_transaction_session_timeout": "30s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "3",
}

# In a URL's query, or in libpq's other notation, which we do not read but may be given.
_PASSWORD_FIELD: Final = re.compile(r"((?:^|[?&\s])(?:ssl)?password\s*=\s*)('[^']*'|[^&\s]*)")

SERVER_ERRORS: Final = (
    OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError,
)  # fmt: skip
"""What asyncpg raises where the server refuses, or is not there any more. It says
`InternalClientError` where the server's last word came and the connection's end has not."""

# Classes of SQLSTATE. 22 data exception, 23 integrity, 54 limits (an index row too long).
_DATA_CLASSES = ("22", "23", "54")
# 08 connection, 40 rollback, 53 resources, 55 not in state, 57 intervention, 58 system.
_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57", "58")


@dataclass(frozen=True, slots=True)
class Database:
    """Where the database is and how to connect to it."""

    url: str
    command_timeout_seconds: float = 300.0
    connect_timeout_seconds: float = 10.0
    settings: dict[str, str] = field(default_factory=dict)

    async def connect(self, role: str, **settings: str) -> asyncpg.Connection:
        """Opens one connection; `role` names it in pg_stat_activity.

        Raises what asyncpg raises; `is_transient` tells whether trying again may help.
        """
        connection = await asyncpg.connect(
            self.url,
            timeout=self.connect_timeout_seconds,
            command_timeout=self.command_timeout_seconds,
            # Plans are kept as long as the connection: made anew they cost as much as a window.
            max_cached_statement_lifetime=0,
            server_settings={
                **COMMON_SETTINGS,
                **self.settings,
                **settings,
                "application_name": f"projector/{role}"[:63],
            },
        )
        connection.add_query_logger(lambda _: PULSE.beat(role))
        return connection

    @asynccontextmanager
    async def connected(self, role: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection for as long as something takes."""
        connection = await self.connect(role)
        try:
            yield connection
        finally:
            await close_quietly(connection)

    async def first_connect(self, role: str, **settings: str) -> asyncpg.Connection:
        """Connects once, for a command that somebody waits for; checks the server's version.

        Raises `CannotConnect` or `SchemaMismatch`, in a line that says what to do.
        """
        try:
            connection = await self.connect(role, **settings)
        except (*SERVER_ERRORS, ValueError) as error:
            if not _is_readable(self.url):
                # Not the cause: it may hold a part of the password.
                raise CannotConnect(
                    f"cannot connect to {masked(self.url)}: that is no address; in a password "
                    "write the characters / ? # @ : % [ ] as %2F and so on; check --database (or "
                    "PROJECTOR_DATABASE_URL)"
                ) from None
            raise CannotConnect(
                f"cannot connect to {masked(self.url)}: {one_line(error)}; check --database (or "
                "PROJECTOR_DATABASE_URL) and that the server runs"
            ) from error
        version = connection.get_server_version().major
        if version < SERVER_VERSION_MIN:
            await connection.close()
            raise SchemaMismatch(
                f"{masked(self.url)} is PostgreSQL {version}; {SERVER_VERSION_MIN} or newer is "
                "needed"
            )
        return connection


def masked(url: str) -> str:
    """The URL without its password, wherever it is; for what is no URL, as far as can be known."""
    url = _PASSWORD_FIELD.sub(r"\1***", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return re.sub(r"//.*@", "//***@", url)
    if parts.password is None:
        # A password with a / or a ? in it ends the host too early.
        odd = "@" in url and ":" in parts.netloc and "@" not in parts.netloc
        return re.sub(r"//.*@", "//***@", url) if odd else url
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:***@{host}"))


def _is_readable(url: str) -> bool:
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def one_line(error: BaseException) -> str:
    """The error's text in one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def sqlstate(error: BaseException) -> str:
    """The five-character SQLSTATE of a server error, or the empty string."""
    return getattr(error, "sqlstate", None) or ""


def is_data_error(error: BaseException) -> bool:
    """Whether one of the values sent is to blame, so that a smaller window may pass."""
    if isinstance(error, asyncpg.UniqueViolationError):
        return False  # No statement of ours may meet one: a sign of corruption.
    if sqlstate(error)[:2] in _DATA_CLASSES:
        return True
    # asyncpg's own refusal to encode a value (a lone surrogate, a string for an integer).
    return isinstance(error, asyncpg.DataError)


def is_transient(error: BaseException) -> bool:
    """Whether the same attempt, made again, may succeed."""
    if isinstance(error, (CheckpointMoved, Corruption)):
        return False
    if isinstance(error, asyncpg.PostgresError):
        return sqlstate(error)[:2] in _TRANSIENT_CLASSES
    return isinstance(error, SERVER_ERRORS)


def retrying(
    what: str,
    *,
    backoff_seconds_max: float = 10.0,
    seconds: float | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncRetrying:
    """Retries what is transient, with backoff and jitter, and says so; gives up after `seconds`."""

    def say(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        tally.RETRIES.add(1, what)
        PULSE.beat(what)
        log.warning(
            "%s: %s; trying again (attempt %d)",
            what,
            one_line(error) if error else "failed",
            state.attempt_number + 1,
        )

    return AsyncRetrying(
        retry=retry_if_exception(is_transient),
        wait=wait_random_exponential(multiplier=0.1, max=backoff_seconds_max),
        stop=stop_after_delay(seconds) if seconds is not None else stop_never,
        before_sleep=say,
        sleep=sleep,
        reraise=True,
    )


async def close_quietly(connection: asyncpg.Connection | None) -> None:
    """Closes a connection that may be broken already, within a second."""
    if connection is None or connection.is_closed():
        return
    try:
        await connection.close(timeout=1)
    except SERVER_ERRORS:
        connection.terminate()
