"""The addresses of Jetstream hosts: what an operator writes, and what is asked of a host.

The query parameters are those of the Jetstream README: `wantedCollections` (100 at most),
`wantedDids`, `maxMessageSizeBytes`, `cursor` (`time_us`), `compress`, `requireHello`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

from websockets.exceptions import InvalidURI
from websockets.uri import parse_uri

from events.errors import SourceError
from events.event import TIME_US_MAX, Wanted

PUBLIC_HOSTS: Final = tuple(
    f"wss://jetstream{number}.us-{coast}.bsky.network/subscribe"
    for coast in ("east", "west")
    for number in (1, 2)
)
"""The four hosts that Bluesky operates; their cursors are times, so one serves them all."""

WANTED_COLLECTIONS_MAX: Final = 100
"""More patterns than this a host refuses; then none is sent, and we pass over what comes."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host: what to ask it, and what to call it.

    `label` is its address without credentials and query, fit for reports. `start` is the cursor
    that the operator wrote into the address, used when none is saved.
    """

    address: str
    label: str
    query: tuple[tuple[str, str], ...]
    start: int | None

    def subscribe_url(self, cursor: int | None) -> str:
        """The whole address, asking for what is at or after `cursor` (None: live)."""
        query = self.query if cursor is None else (*self.query, ("cursor", str(cursor)))
        return f"{self.address}?{urlencode(query)}" if query else self.address


def parse_source(text: str) -> tuple[str, tuple[str, ...]]:
    """The name and the hosts of a source text: `jetstream`, or one `ws://` or `wss://` address.

    The name is where the cursor is kept: without query and credentials. Raises SourceError.
    """
    if text == "jetstream":
        return text, PUBLIC_HOSTS
    return _label(_split(text)), (text,)


def parse_host(url: str, wanted: Wanted, compress: bool) -> Host:
    """A host from its address; query parameters in the address win over ours. SourceError."""
    parts = _split(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    names = {name for name, _ in given}
    if ("requireHello", "true") in given:
        raise SourceError(f"{_label(parts)}: requireHello=true would wait for a message for ever")
    if ("compress", "true") in given and not compress:
        raise SourceError(f"{_label(parts)}: compress=true needs Jetstream's zstd dictionary")
    query = [(name, value) for name, value in given if name != "cursor"]
    if "wantedCollections" not in names and not wanted.everything:
        query += _wanted_collections(wanted.patterns)
    if compress and "compress" not in names:
        query.append(("compress", "true"))
    return Host(
        address=f"{parts.scheme}://{parts.netloc}{_path(parts)}",
        label=_label(parts),
        query=tuple(query),
        start=_start(parts, given),
    )


def _wanted_collections(patterns: Sequence[str]) -> list[tuple[str, str]]:
    if len(patterns) > WANTED_COLLECTIONS_MAX:
        return []
    return [("wantedCollections", pattern) for pattern in patterns]


def _start(parts: SplitResult, given: Sequence[tuple[str, str]]) -> int | None:
    written = [value for name, value in given if name == "cursor" and value]
    if not written:
        return None
    return parse_cursor(written[-1], _label(parts))


def parse_cursor(text: str, of: str) -> int:
    """A cursor in microseconds since 1970; SourceError, naming `of`, where it is none."""
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) <= TIME_US_MAX):
        raise SourceError(f"{of}: the cursor {text[:40]!r} is not a time in microseconds")
    return int(text)


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        parse_uri(url.partition("#")[0])
        usable = parts.scheme in ("ws", "wss") and parts.hostname and parts.port != 0
    except (ValueError, InvalidURI):
        usable = None
    if not usable:
        # Neither the text nor the cause: they may hold a password.
        raise SourceError(
            "a Jetstream source is `jetstream`, or an address ws:// or wss://host"
        ) from None
    return parts


def _path(parts: SplitResult) -> str:
    return parts.path if parts.path.strip("/") else "/subscribe"


def _label(parts: SplitResult) -> str:
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{_path(parts)}"
