"""`top`: the status page in a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.util import find_spec

from projector import schema
from projector.environment import COMMON, Common, declared, opened, settings
from projector.errors import UsageError
from projector.observer import Observer
from projector.output import print_json
from projector.terminal.views import View, observed, paged


async def top(*, page: str | None = None, common: Common = COMMON) -> None:
    """Show the status live in the terminal: 1 to 7 choose what, q ends it.

    It reads the database as the page of `run` does. With --json it prints one look and ends.

    Parameters
    ----------
    page
        Show what the page of a daemon tells, such as http://127.0.0.1:7780, in place of looking
        at the database: its latencies and top movers too.
    """
    if find_spec("textual") is None:
        raise UsageError("top needs textual; install it: pip install 'atproto-projector[top]'")
    if not common.json and not sys.stdout.isatty():
        raise UsageError("top draws on a terminal; here is none: projector status prints the same")
    async with _views(page, common) as views:
        if common.json:
            print_json((await anext(views)).state)
            return
        from projector.terminal.app import Top

        with _silence():
            await Top(views).run_async()


@asynccontextmanager
async def _views(page: str | None, common: Common) -> AsyncIterator[AsyncIterator[View]]:
    chosen = settings()
    if page is not None:
        if not page.startswith(("http://", "https://")):
            raise UsageError(f"--page {page!r} is no address of a page: http://127.0.0.1:7780")
        yield paged(page, chosen.status_token)
        return
    async with opened(common, chosen) as database:
        connection = await database.first_connect("check")
        try:
            await schema.check(connection, ())
        finally:
            await connection.close()
        observer = Observer(
            database,
            declared(),
            group=chosen.stream_group,
            stream_entries_max=chosen.stream_entries_max,
            seconds=chosen.status_seconds,
        )
        async with observed(observer) as views:
            yield views


@contextmanager
def _silence() -> Iterator[None]:
    """Log lines would be written across the picture, which says the same."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
