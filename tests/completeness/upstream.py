"""Hosts of our own for the tests of completeness, and what is ingested from them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from projector.commands.flow import into_log
from projector.database import Database
from projector.settings import Settings
from tests.support.lines import tid
from tests.support.records import CID, DID

LIKE, FOLLOW, POST = "app.bsky.feed.like", "app.bsky.graph.follow", "app.bsky.feed.post"


def now_us() -> int:
    return time.time_ns() // 1000


def commit(
    number: int,
    collection: str,
    *,
    time_us: int = 0,
    did: str = DID,
    action: str = "create",
    rkey: str = "",
    record: dict[str, Any] | None = None,
) -> bytes:
    """The `number`th message, as a host sends it; its time is now, where none is named."""
    operation: dict[str, Any] = {
        "rev": tid(number), "collection": collection, "rkey": rkey or tid(number),
        "operation": action,
    }  # fmt: skip
    if action != "delete":
        subject = f"did:plc:subject{number}"
        made: dict[str, Any] = {"createdAt": "2026-01-01T00:00:00.000Z"}
        if collection == LIKE:
            made["subject"] = {"uri": f"at://{subject}/{POST}/3lb4rbqitunyc", "cid": CID}
        elif collection == FOLLOW:
            made["subject"] = subject
        else:
            made["text"] = f"the {number}th"
        full = {"$type": collection, **(made if record is None else record)}
        operation |= {"record": full, "cid": CID}
    message = {"did": did, "time_us": time_us or now_us(), "kind": "commit", "commit": operation}
    return json.dumps(message).encode()


@asynccontextmanager
async def ingesting(database: Database, source: str, settings: Settings) -> AsyncIterator[None]:
    """Ingests as `projector ingest` does, until it is left."""
    stop = asyncio.Event()
    task = asyncio.create_task(into_log(database, source, settings, stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)
