"""Whether, and where, this process serves the status page: the page itself is loaded only then."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import NamedTuple

from projector.database import Database
from projector.declare import Kept
from projector.errors import UsageError
from projector.movers import Movers
from projector.notify import patience_seconds
from projector.settings import Settings


class Address(NamedTuple):
    """Where to listen."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def listening(settings: Settings) -> Address | None:
    """Where the page is to be served, if anywhere.

    Raises `UsageError` for what is no address, and for one beyond loopback without a token.
    """
    text = settings.status_listen
    if not text:
        return None
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65_535:
        raise UsageError(f"status_listen is {text!r}, no address: write 127.0.0.1:7780")
    if not is_loopback(host) and not settings.status_token:
        raise UsageError(
            f"status_listen is {text}, beyond loopback, and there is no token; set "
            "PROJECTOR_STATUS_TOKEN to a secret, or listen on 127.0.0.1"
        )
    return Address(host, int(port))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, for sure: other names may lead anywhere."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


@asynccontextmanager
async def observed(
    settings: Settings,
    database: Database | None = None,
    declarations: Sequence[Kept] = (),
    *,
    streams: list[str] | None = None,
    movers: Movers | None = None,
) -> AsyncIterator[None]:
    """Serves the status page, or without a database the metrics only, as long as it lasts."""
    address = listening(settings)
    if address is None:
        yield
        return
    # Only now: it takes a while, and most commands serve nothing.
    from projector.status_page import serving

    async with serving(
        address,
        settings.status_token,
        database,
        declarations,
        streams=streams,
        group=settings.stream_group,
        stream_entries_max=settings.stream_entries_max,
        movers=movers,
        seconds=settings.status_seconds,
        patience_seconds=patience_seconds(settings),
    ):
        yield
