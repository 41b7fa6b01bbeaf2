"""The web as hostile hosts have it: one bounded GET, to public addresses only."""

from __future__ import annotations

import asyncio
import http.client
import io
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast
from urllib.parse import urlsplit

READ_BYTES: Final = 16_384

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""From a host and a port to addresses; raises OSError where there are none."""


class Unreachable(Exception):
    """No answer, or one that is none; trying again may help."""


class Refused(Exception):
    """Not asked at all: the address is not public, or the URL is none of ours to ask."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The status, and as much of the body as there is: never more than the limit."""

    status: int
    body: bytes


async def system_lookup(host: str, port: int) -> list[str]:
    """Addresses as the system knows them."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(info[4][0]) for info in found]


def is_public(address: str) -> bool:
    """Whether an address is one of the internet, and of no network of ours."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    ip = mapped or ip
    return ip.is_global and not (ip.is_multicast or ip.is_reserved or ip.is_unspecified)


@dataclass(frozen=True, slots=True)
class Web:
    """Asks hosts. Redirects are not followed: they would lead anywhere.

    `private` lets hosts that the network names be at any address, on any port and without TLS: for
    tests, and networks of one's own. The address that was looked up and found public is the one
    that is connected to; it is not looked up a second time.
    """

    seconds: float = 5.0
    bytes_max: int = 65_536
    private: bool = False
    lookup: Lookup = system_lookup

    async def get(self, url: str, *, accept: str = "*/*", trusted: bool = False) -> Answer:
        """What a URL answers. `trusted`: an operator named it, so it may be anywhere.

        Raises `Unreachable` and `Refused`.
        """
        parts = urlsplit(url)
        anywhere = trusted or self.private
        host = parts.hostname
        if not host or parts.scheme not in ("https", "http"):
            raise Refused(f"{url} is no address of the web")
        if not anywhere and (parts.scheme != "https" or parts.port not in (None, 443)):
            raise Refused(f"{url} is not plain https")
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            async with asyncio.timeout(self.seconds):
                address = await self._address(host, port, anywhere=anywhere)
                context = ssl.create_default_context() if tls else None
                reader, writer = await asyncio.open_connection(
                    address, port, ssl=context, server_hostname=host if tls else None
                )
                try:
                    writer.write(_request(parts.netloc, path, accept))
                    await writer.drain()
                    return _parsed(await self._read(reader))
                finally:
                    writer.close()
        except (OSError, TimeoutError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(f"{host}: {error or type(error).__name__}") from error

    async def _address(self, host: str, port: int, *, anywhere: bool) -> str:
        addresses = await self.lookup(host, port)
        if not addresses:
            raise OSError("no address")
        if not anywhere and not all(map(is_public, addresses)):
            raise Refused(f"{host} is at an address that is not public")
        return addresses[0]

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        parts: list[bytes] = []
        left = self.bytes_max
        while left > 0 and (part := await reader.read(min(left, READ_BYTES))):
            parts.append(part)
            left -= len(part)
        if left <= 0:
            raise ValueError(f"the answer is longer than {self.bytes_max} bytes")
        return b"".join(parts)


def _request(host: str, path: str, accept: str) -> bytes:
    lines = (f"GET {path} HTTP/1.1", f"Host: {host}", f"Accept: {accept}",
             "User-Agent: atproto-projector", "Connection: close", "", "")  # fmt: skip
    return "\r\n".join(lines).encode("ascii")


class _Received:
    """What was received, as http.client wants its socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def _parsed(data: bytes) -> Answer:
    response = http.client.HTTPResponse(cast("socket.socket", _Received(data)))
    response.begin()
    return Answer(response.status, response.read())
