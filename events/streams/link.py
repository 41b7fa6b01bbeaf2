"""Talking to a Redis server: addresses, connections that never retry by themselves, waiting."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from events.errors import SourceError
from events.event import Report, nothing

T = TypeVar("T")
Word = str | bytes | int

SCHEMES = {"redis": "/", "rediss": "/", "unix": ""}
GROUP = "projector"
TIMEOUT_SECONDS = 10.0
"""How long one command may take before its connection is given up."""


@dataclass(frozen=True, slots=True)
class RedisPlace:
    """A stream on a server. `url` may hold a password and is never shown; `name` has none.

    `after_group` is another group, such as that of an indexer of before, where reading begins as
    long as nothing was read.
    """

    url: str = field(repr=False)
    stream: str
    group: str = GROUP
    after_group: str = ""

    @property
    def name(self) -> str:
        """The identity of the stream, e.g. `redis://localhost:6379/0?stream=firehose_live`."""
        return place_name(self.url, self.stream)


def parse_place(text: str, default_group: str = GROUP) -> RedisPlace:
    """Reads `redis://[user:password@]host[:port][/db]?stream=name[&group=name][&after_group=name]`.

    Also `rediss://` (TLS) and `unix:///path/of.sock?db=0&stream=name`. Raises SourceError for
    another scheme, an unknown key, or a missing stream; the text of the error has no password.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        # Not the text: it may hold a password.
        raise SourceError(
            "no Redis address can be read there; use redis://host:port/0?stream=…"
        ) from None
    if parts.scheme not in SCHEMES:
        raise SourceError(f"not a Redis address: scheme {parts.scheme!r}; use redis, rediss, unix")
    keys = dict(parse_qsl(parts.query, keep_blank_values=True))
    kept = {"db": keys.pop("db")} if parts.scheme == "unix" and "db" in keys else {}
    stream, group = keys.pop("stream", ""), keys.pop("group", default_group)
    after_group = keys.pop("after_group", "")
    if keys:
        raise SourceError(
            f"Redis address: unknown key {min(keys)!r}; known are stream, group and after_group"
        )
    if not stream or not group:
        raise SourceError("Redis address: name a stream, e.g. redis://localhost:6379/0?stream=…")
    url = parts._replace(query=urlencode(kept), fragment="").geturl()
    place_name(url, stream)
    return RedisPlace(url, stream, group, after_group)


def place_name(url: str, stream: str) -> str:
    """The name of a stream without credentials and with port and database written out."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "localhost", parts.port or 6379
        database = dict(parse_qsl(parts.query)).get("db") or parts.path.strip("/") or "0"
        if parts.scheme == "unix":
            database = dict(parse_qsl(parts.query)).get("db", "0")
        number = int(database)
    except ValueError:
        # Not the cause: of a password with a / in it, it holds the beginning.
        raise SourceError(
            "Redis address: port and database must be numbers; use redis://host:port/0?stream=…"
        ) from None
    label = quote(stream, safe=":")
    if parts.scheme == "unix":
        return f"unix://{unquote(parts.path)}?db={number}&stream={label}"
    host = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{host}:{port}/{number}?stream={label}"


class Script:
    """A Lua script and the digest it is called by."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class RedisLink:
    """A few connections to one server; replies are as they come: bytes, int, list or None.

    redis-py repeats commands by itself, writes too, which can add an entry twice (CONVENTIONS,
    library trap 1): here nothing is ever repeated, callers do it where it is harmless.
    """

    def __init__(self, url: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._client: Any = Redis.from_url(
            url,
            protocol=2,
            retry=Retry(NoBackoff(), 0),
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            max_connections=8,
        )
        self._client.response_callbacks.clear()

    async def run(self, *words: Word) -> Any:
        """Runs one command. Raises redis-py's errors."""
        return await self._client.execute_command(*words)

    async def together(self, *commands: tuple[Word, ...], atomic: bool = False) -> list[Any]:
        """Runs commands at once or in one transaction; the error of a command is its reply."""
        async with self._client.pipeline(transaction=atomic) as pipeline:
            for command in commands:
                pipeline.execute_command(*command)
            return list(await pipeline.execute(raise_on_error=False))

    async def script(self, script: Script, keys: list[str], words: list[Word]) -> Any:
        """Runs a script, and teaches it to the server first where that does not know it."""
        try:
            return await self.run("EVALSHA", script.sha, len(keys), *keys, *words)
        except NoScriptError:
            return await self.run("EVAL", script.text, len(keys), *keys, *words)

    async def close(self) -> None:
        """Closes every connection; a later command opens new ones."""
        await self._client.aclose()


def is_down(error: BaseException) -> bool:
    """Whether waiting may help: the server is away, starting, or busy."""
    if isinstance(error, AuthenticationError | AuthorizationError):
        return False
    waiting = (ConnectionError, TimeoutError, OSError, BusyLoadingError, ClusterDownError)
    return isinstance(error, (*waiting, TryAgainError)) or _says(error, "BUSY ")


def is_refused(error: BaseException) -> bool:
    """Whether the server answers but takes no writes: out of memory, read-only, disk trouble."""
    return _says(error, "OOM ", "READONLY ", "MISCONF ", "NOREPLICAS ") or isinstance(
        error, OutOfMemoryError | ReadOnlyError
    )


def is_forbidden(error: BaseException) -> bool:
    """Whether this user may not run the command."""
    return isinstance(error, NoPermissionError)


def _says(error: BaseException, *codes: str) -> bool:
    # Other words come before the code: redis-py's in a transaction, Redis 6's in a script.
    return isinstance(error, ResponseError) and any(code in str(error) for code in codes)


class Patience:
    """Repeats a call through trouble, with backoff and jitter, and says when it begins and ends."""

    def __init__(
        self,
        name: str,
        report: Report,
        first_seconds: float = 0.1,
        max_seconds: float = 10.0,
        *,
        on_lost: Callable[[], None] = nothing,
    ) -> None:
        self._name = name
        self._report = report
        self._on_lost = on_lost
        self._wait = wait_random_exponential(multiplier=first_seconds, max=max_seconds)
        self._since: float | None = None

    async def __call__(
        self,
        call: Callable[[], Awaitable[T]],
        endure: Callable[[BaseException], bool] = is_down,
    ) -> T:
        """The call's result. Raises SourceError for a failure that waiting does not mend."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(endure), wait=self._wait, before_sleep=self._say, reraise=True
        )

        async def attempt() -> T:
            return await call()  # tenacity awaits only what is declared to be a coroutine.

        try:
            result: T = await retrying(attempt)
        except RedisError as error:
            raise SourceError(f"{self._name}: Redis answers: {one_line(error)}") from error
        if self._since is not None:
            seconds = time.monotonic() - self._since
            self._report(f"{self._name}: goes on, after {seconds:.1f} s")
            self._since = None
        return result

    def _say(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if self._since is None:
            self._since = time.monotonic()
            if error is not None and is_down(error):
                self._on_lost()
            self._report(f"{self._name}: {one_line(error)}; waiting")


def one_line(error: BaseException | None) -> str:
    """The error's kind and text in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
