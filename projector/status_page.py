"""The status page and the metrics over HTTP, served beside the work and never in its way.

Starlette and uvicorn: small, kept well, and able to run in a loop that is not theirs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from importlib.resources import files
from math import inf
from typing import Final

import msgspec
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from projector.database import Database, one_line
from projector.declare import Kept
from projector.exposition import Exposition
from projector.guard import HEALTH_PATH, Guard
from projector.listen import Address
from projector.movers import Movers
from projector.observer import Observer
from projector.pulse import PULSE
from projector.state import state_of

log = logging.getLogger(__name__)

CONNECTIONS_MAX: Final = 100
"""Connections above are answered with 503 at once."""

HEADER_BYTES_MAX: Final = 16 * 1024
CLOSE_SECONDS_MAX: Final = 2

FILES: Final = {
    "": ("index.html", "text/html"),
    "page.css": ("page.css", "text/css"),
    "page.js": ("page.js", "text/javascript"),
    "dom.js": ("dom.js", "text/javascript"),
    "pipeline.js": ("pipeline.js", "text/javascript"),
    "plots.js": ("plots.js", "text/javascript"),
    "tables.js": ("tables.js", "text/javascript"),
    "theme.js": ("theme.js", "text/javascript"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
NO_PAGE: Final = (
    "This is projector ingest. Its metrics are at /metrics; the status page is served by projector "
    "run and projector up.\n"
)


@cache
def _file(name: str) -> bytes:
    return (files("projector") / "page" / name).read_bytes()


class StatusPage:
    """Answers: the page's files, `/live` as it changes, its parts once, `/metrics`, `/health`."""

    def __init__(
        self,
        observer: Observer,
        token: str,
        *,
        with_page: bool = True,
        patience_seconds: float = inf,
    ) -> None:
        self.observer = observer
        self._patience_seconds = patience_seconds
        self._exposition = Exposition(observer)
        routes = [Route("/metrics", self._metrics), Route(HEALTH_PATH, self._health)]
        if with_page:
            routes += [Route("/state", self._state), Route("/live", self._live)]
            routes += [Route("/letters", self._letters), Route("/samples", self._samples)]
            routes.append(Route("/{name}", self._page))
        routes.append(Route("/", self._page if with_page else self._no_page))
        self.app = Guard(Starlette(routes=routes), token)

    async def _page(self, request: Request) -> Response:
        found = FILES.get(request.path_params.get("name", ""))
        if found is None:
            return PlainTextResponse("There is no such page.\n", 404)
        name, media_type = found
        return Response(_file(name), media_type=media_type)

    async def _no_page(self, _: Request) -> Response:
        return PlainTextResponse(NO_PAGE)

    async def _metrics(self, request: Request) -> Response:
        text, content_type = self._exposition.render(request.headers.get("accept", ""))
        return Response(text, headers={"content-type": content_type})

    async def _health(self, _: Request) -> Response:
        is_stuck = PULSE.stuck(self._patience_seconds)
        return PlainTextResponse("stuck\n" if is_stuck else "ok\n", 503 if is_stuck else 200)

    async def _state(self, _: Request) -> Response:
        return _json(state_of(self.observer))

    async def _letters(self, _: Request) -> Response:
        return _json(self.observer.latest.letters if self.observer.latest else [])

    async def _samples(self, _: Request) -> Response:
        return _json(list(self.observer.samples.kept))

    async def _live(self, _: Request) -> Response:
        return StreamingResponse(self._happenings(), media_type="text/event-stream")

    async def _happenings(self) -> AsyncIterator[bytes]:
        """The state after every look; dead letters where they changed; the past hour at first."""
        observer = self.observer
        yield _happening("history", list(observer.samples.kept))
        letters: object = None
        while not observer.is_closed:
            look = observer.looks
            latest = observer.latest.letters if observer.latest else []
            if latest != letters:
                letters = latest
                yield _happening("letters", latest)
            yield _happening("state", state_of(observer))
            await observer.after(look)


def _json(value: object) -> Response:
    return Response(msgspec.json.encode(value), media_type="application/json")


def _happening(name: str, value: object) -> bytes:
    return f"event: {name}\ndata: ".encode() + msgspec.json.encode(value) + b"\n\n"


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves signals to whoever runs the work: the page answers while it drains."""
        yield


@asynccontextmanager
async def serving(
    address: Address,
    token: str,
    database: Database | None,
    declarations: Sequence[Kept],
    *,
    streams: list[str] | None = None,
    group: str = "projector",
    stream_entries_max: int = 1_000_000,
    movers: Movers | None = None,
    seconds: float = 2.0,
    patience_seconds: float = inf,
) -> AsyncIterator[None]:
    """Observes and serves as long as it lasts; without a database, metrics only.

    Where the address cannot be had it says so, and that is all: the work goes on.
    """
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        listener = socket.create_server(address, family=family)
    except OSError as error:
        log.warning(
            "no status page at %s: %s; --status-listen names another place",
            address,
            one_line(error),
        )
        yield
        return
    bound = Address(*listener.getsockname()[:2])
    if database is not None:
        log.info("status page: http://%s", bound)
    else:
        log.info("metrics: http://%s/metrics", bound)
    observer = Observer(
        database,
        declarations,
        streams=streams,
        group=group,
        stream_entries_max=stream_entries_max,
        movers=movers,
        seconds=seconds,
    )
    page = StatusPage(
        observer, token, with_page=database is not None, patience_seconds=patience_seconds
    )
    server = _Server(_config(page.app))
    tasks = [
        asyncio.create_task(observer.run(), name="observer"),
        asyncio.create_task(server.serve(sockets=[listener]), name="status page"),
    ]
    try:
        yield
    finally:
        await observer.close()
        server.should_exit = True
        await asyncio.wait(tasks[1:], timeout=CLOSE_SECONDS_MAX * 2)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        listener.close()


def _config(app: Guard) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        # Addresses may hold the token.
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS_MAX,
        h11_max_incomplete_event_size=HEADER_BYTES_MAX,
        timeout_graceful_shutdown=CLOSE_SECONDS_MAX,
    )
