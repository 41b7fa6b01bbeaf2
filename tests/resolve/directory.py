"""A directory and hosts of handles on loopback: what each path answers is a test's to say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from projector.identity import Resolver
from projector.web import Answer, Web

PHRASE = {200: "OK", 302: "Found", 404: "Not Found", 500: "Internal Server Error"}


@dataclass
class Directory:
    """Answers GETs: `documents` of DIDs, `txt` of handles, `hosts` of handles by well-known path.

    `broken` are paths that answer 500; `asked` are all paths that were asked for.
    """

    port: int = 0
    documents: dict[str, bytes] = field(default_factory=dict)
    txt: dict[str, list[str]] = field(default_factory=dict)
    hosts: dict[str, bytes] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def name(self, did: str, handle: str) -> None:
        """The account has the handle, and the handle's host says so."""
        document = {"id": did, "alsoKnownAs": [f"at://{handle}"]}
        self.documents[f"/{did}"] = json.dumps(document).encode()
        self.txt[handle] = [f"did={did}"]

    def resolver(self, **settings: object) -> Resolver:
        """A resolver that asks here, and finds every host of a handle here, too."""
        web = Local(self.port, seconds=5.0, private=True)
        return Resolver(web, self.url, f"{self.url}/dns-query")

    def answer(self, target: str) -> tuple[int, bytes]:
        path = urlsplit(target).path
        self.asked.append(target)
        if path in self.broken:
            return 500, b""
        if path == "/dns-query":
            name = parse_qs(urlsplit(target).query)["name"][0].removeprefix("_atproto.")
            records = [{"name": name, "type": 16, "data": f'"{t}"'} for t in self.txt.get(name, [])]
            return 200, json.dumps({"Status": 0, "Answer": records}).encode()
        found = self.documents.get(path, self.hosts.get(path))
        return (200, found) if found is not None else (404, b"")


class Local(Web):
    """Asks the directory instead of the hosts that are named."""

    __slots__ = ("port",)

    def __init__(self, port: int, *, seconds: float, private: bool) -> None:
        super().__init__(seconds=seconds, private=private)
        object.__setattr__(self, "port", port)

    async def get(self, url: str, *, accept: str = "*/*", trusted: bool = False) -> Answer:
        parts = urlsplit(url)
        if parts.hostname != "127.0.0.1":
            url = f"http://127.0.0.1:{self.port}/{parts.hostname}{parts.path}"
        return await super().get(url, accept=accept, trusted=trusted)


@asynccontextmanager
async def directory() -> AsyncIterator[Directory]:
    """One that serves for as long as it is wanted."""
    made = Directory()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        status, body = made.answer(head.split()[1].decode())
        writer.write(b"HTTP/1.1 %d %s\r\nTransfer-Encoding: chunked\r\n\r\n" % (
            status, PHRASE[status].encode()))  # fmt: skip
        for at in range(0, len(body), 1000):
            part = body[at : at + 1000]
            writer.write(b"%x\r\n%s\r\n" % (len(part), part))
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    async with server:
        yield made
