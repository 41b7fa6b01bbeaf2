"""Asks the peer's servers, and tells where two answers to a question differ."""

from __future__ import annotations

import asyncio
import base64
import binascii
import http.client
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

from projector.errors import ProjectorError
from tests.peer.process import ADMIN_PASSWORD, Program, program
from tests.peer.questions import Question
from tests.peer.tables import canonical

Difference: TypeAlias = tuple[str, Any, Any]
"""A place in an answer, what was expected there, and what was found."""

PAGES_MAX: Final = 10
ASK_SECONDS_MAX: Final = 60
BROKEN: Final = ("Internal", "Unimplemented", "Unknown", "InternalServerError")
UNORDERED: Final = ("GetFollowsFollowing", "app.bsky.graph.getKnownFollowers")
"""They give rows in whatever order the tables have them: found by asking a shuffled copy."""


class Asked:
    """The data plane and the AppView over one database."""

    def __init__(self, servers: Program, appview: http.client.HTTPConnection) -> None:
        self._servers = servers
        self._appview = appview

    async def answer(self, question: Question) -> Any:
        """The answer, or the error's name, as JSON; all pages of what has pages."""
        pages = [await self._page(question, question.params)]
        while question.paged and (cursor := pages[-1].get("cursor")) and len(pages) < PAGES_MAX:
            pages.append(await self._page(question, {**question.params, "cursor": cursor}))
        answer = pages if question.paged else pages[0]
        return _sorted(answer) if question.method in UNORDERED else answer

    async def _page(self, question: Question, params: dict[str, Any]) -> Any:
        if "." in question.method:
            answer = await asyncio.to_thread(self._get, question, params)
        else:
            method = question.method[0].lower() + question.method[1:]
            line = json.dumps({"method": method, "params": params}).encode()
            answer = _readable(await self._servers.ask(line))
        # What the servers cannot do is no answer: two databases would agree on it.
        if answer.get("code") in BROKEN or answer.get("error") in BROKEN:
            raise ProjectorError(f"the peer cannot answer {question}: {answer}")
        return answer

    def _get(self, question: Question, params: dict[str, Any]) -> Any:
        path = f"/xrpc/{question.method}?{urlencode(_plain(params), doseq=True)}"
        headers = {"Authorization": _ADMIN, "appview-as-did": question.viewer or ""}
        self._appview.request("GET", path, headers=headers if question.viewer else {})
        return json.loads(self._appview.getresponse().read())


_ADMIN: Final = "Basic " + base64.b64encode(f"admin:{ADMIN_PASSWORD}".encode()).decode()


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    return {name: str(value).lower() if isinstance(value, bool) else value
            for name, value in params.items()}  # fmt: skip


def _readable(value: Any) -> Any:
    """Records come as the bytes of their JSON."""
    if isinstance(value, list):
        return [_readable(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {key: _record(item) if key == "record" and isinstance(item, str) else _readable(item)
            for key, item in value.items()}  # fmt: skip


def _sorted(value: Any) -> Any:
    if isinstance(value, list):
        return sorted((_sorted(item) for item in value), key=canonical)
    if isinstance(value, dict):
        return {key: _sorted(item) for key, item in value.items()}
    return value


def _record(text: str) -> Any:
    try:
        return json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return text


@asynccontextmanager
async def served(url: str) -> AsyncIterator[Asked]:
    """The peer's servers over a database, while the block runs."""
    async with program("serve", url) as servers:
        port = (await servers.heard())["appview"]
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=ASK_SECONDS_MAX)) as to:
            yield Asked(servers, to)


def differences(expected: Any, found: Any, path: str = "") -> Iterator[Difference]:
    """Where the two differ: the place, and what is there."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            yield from differences(expected.get(key), found.get(key), f"{path}.{key}")
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for i, (a, b) in enumerate(zip(expected, found, strict=True)):
            yield from differences(a, b, f"{path}[{i}]")
    elif expected != found:
        yield path or ".", expected, found
