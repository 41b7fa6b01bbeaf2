"""Asks the peer's servers, and tells where two answers to a question differ."""

from __future__ import annotations

import asyncio
import base64
import binascii
import http.client
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlencode

from tests.peer.process import ADMIN_PASSWORD, program
from tests.peer.questions import Question

PAGES_MAX: Final = 10
ASK_SECONDS_MAX: Final = 60
DATA_PLANE: Final = "/bsky.Service/"
UNORDERED: Final = frozenset[str]()
"""Procedures that give their rows in whatever order the table has them."""


class Asked:
    """The data plane and the AppView over one database."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._dataplane = _connection(ports["dataplane"])
        self._appview = _connection(ports["appview"])

    async def answer(self, question: Question) -> Any:
        """The answer, or the error's name, as JSON; all pages of what has pages."""
        return await asyncio.to_thread(self._pages, question)

    def _pages(self, question: Question) -> Any:
        first = self._answer(question, question.params)
        if not question.paged:
            return first
        pages = [first]
        while pages[-1].get("cursor") and len(pages) < PAGES_MAX:
            pages.append(
                self._answer(question, {**question.params, "cursor": pages[-1]["cursor"]})
            )
        return pages

    def _answer(self, question: Question, params: dict[str, Any]) -> Any:
        if "." in question.method:
            path = f"/xrpc/{question.method}?{urlencode(_plain(params), doseq=True)}"
            headers = {"Authorization": _ADMIN, "appview-as-did": question.viewer}
            self._appview.request("GET", path, headers=headers if question.viewer else {})
            return _read(self._appview, question)
        headers = {"Content-Type": "application/json"}
        self._dataplane.request("POST", DATA_PLANE + question.method, json.dumps(params), headers)
        return _readable(_read(self._dataplane, question))


_ADMIN: Final = "Basic " + base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS_MAX)


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value
            for name, value in params.items()}  # fmt: skip


def _read(connection: http.client.HTTPConnection, question: Question) -> Any:
    response = connection.getresponse()
    body = response.read()
    # What the server cannot do is no answer: two databases would agree on it.
    assert response.status < 500, f"{question}: {response.status} {body[:300]!r}"
    return json.loads(body)


def _readable(value: Any) -> Any:
    """Records come as the bytes of their JSON."""
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _record(item) if key == "record" and isinstance(item, str) else _readable(item)
            for key, item in value.items()}  # fmt: skip


def _record(text: str) -> Any:
    try:
        return json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return text


@asynccontextmanager
async def served(url: str) -> AsyncIterator[Asked]:
    """The peer's servers over a database, while the block runs."""
    async with program("serve", url) as servers:
        yield Asked(await servers.heard())


def differences(expected: Any, found: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where the two differ: the place, and what is there."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from differences(expected.get(key), found.get(key), f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for i, (a, b) in enumerate(zip(expected, found, strict=True)):
            yield from differences(a, b, f"{path}[{i}]")
    elif expected != found:
        yield path or ".", expected, found
