"""A small log, projected, to be damaged: what verify finds in it, by name."""

from __future__ import annotations

import asyncpg

from events.event import Event
from projector.database import Database
from projector.verifying import Verification, Verifier
from tests.support.engine import DECLARATIONS, append, create, project
from tests.support.histories import COLLECTIONS, DIDS, FOLLOW, LIKE, POST, made

A, B, C, D = DIDS[:4]


def uri(did: str, collection: str, rkey: int) -> str:
    return f"at://{did}/{collection}/r{rkey}"


def history() -> list[Event]:
    """Of four accounts, five records of each collection: r0 has the claim on subject 0 and r1 on
    subject 1; r2 and r4 wait for the one, r3 for the other. Then some changes."""
    events: list[Event] = []

    def say(what: str, collection: str, account: int, rkey: int, content: int = 0) -> None:
        fields = {"account": account, "rkey": rkey, "subject": rkey % 2, "content": content}
        events.append(made(len(events) + 1, what, collection, **fields))

    for account in range(4):
        for rkey in range(5):
            for collection in COLLECTIONS:
                say("create", collection, account, rkey)
    for account in range(4):
        say("update", POST, account, 0, 1)
        say("delete", POST, account, 4)
        say("delete", LIKE, account, 1)
        say("create", LIKE, account, 7)
        say("delete", FOLLOW, account, 4)
    return events


HISTORY = history()


async def build(database: Database, events: list[Event] | None = None) -> None:
    """Makes the tables of the history."""
    await create(database)
    await append(database, HISTORY if events is None else events)
    await project(database)


async def verified(connection: asyncpg.Connection, *, log: bool = True) -> Verification:
    """What a full verification finds."""
    verifier = Verifier(connection, DECLARATIONS, "bsky", lambda _what, _done, _of: None)
    await verifier.log(full=log)
    await verifier.rows(None)
    await verifier.counters()
    return verifier.found


def names_of(found: Verification) -> dict[str, str]:
    """What was found, by name; each with the command that mends it."""
    named = {finding.name: finding.mend for finding in found.findings}
    return named | {fault.name: fault.mend for fault in found.log}
