"""`actor` and `actor_sync`: a row an account, of all that its events say."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from events.event import RESOLVED, Event
from projections.actor import actors
from projections.actor_sync import actor_syncs
from projector.database import Database
from tests.support import engine
from tests.support.histories import tid
from tests.support.rebuilding import rebuild

A, B, C = (f"did:plc:{letter * 24}" for letter in "abc")
DECLARATIONS = [actors, actor_syncs]
NOON_US = 1_740_830_400_000_000
Said = tuple[str, str, str | None]

# (account, what is said, with what), and the handles and states that there are then.
HISTORY: list[tuple[Said, dict[str, tuple[str | None, str | None]]]] = [
    ((A, "identity", "claimed.test"), {A: (None, None)}),
    ((A, RESOLVED, "Shared.test"), {A: ("shared.test", None)}),
    ((B, "account", "suspended"), {A: ("shared.test", None), B: (None, "suspended")}),
    ((B, RESOLVED, "shared.test"), {A: (None, None), B: ("shared.test", "suspended")}),
    ((B, "account", "throttled"), {A: (None, None), B: ("shared.test", "suspended")}),
    ((A, RESOLVED, "a.test"), {A: ("a.test", None), B: ("shared.test", "suspended")}),
    ((B, RESOLVED, "a.test"), {A: (None, None), B: ("a.test", "suspended")}),
    ((A, RESOLVED, "shared.test"), {A: ("shared.test", None), B: ("a.test", "suspended")}),
    ((B, "account", "active"), {A: ("shared.test", None), B: ("a.test", None)}),
    ((A, "account", "deleted"), {B: ("a.test", None)}),
    ((B, RESOLVED, None), {B: (None, None)}),
    ((A, "account", "deactivated"), {A: (None, "deactivated"), B: (None, None)}),
    ((A, RESOLVED, "a.test"), {A: ("a.test", "deactivated"), B: (None, None)}),
]


def event_of(number: int, said: Said) -> Event:
    """The event, a minute after the one before."""
    did, what, told = said
    inner: dict[str, str | None]
    time_us = NOON_US + number * 60_000_000
    if what == "account":
        kind, action, inner = "account", told or "", {"did": did}
    elif what == "identity":
        kind, action, inner = "identity", "refresh", {"did": did, "handle": told or ""}
    else:
        kind, action, inner = "identity", RESOLVED, {"handle": told}
    return Event(
        0, did, kind, action, None, None, None, None, json.dumps(inner).encode(), time_us,
        str(number),
    )  # fmt: skip


def events() -> list[Event]:
    return [event_of(number, said) for number, (said, _) in enumerate(HISTORY)]


def handles(tables: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[str | None, str | None]]:
    return {row["did"]: (row["handle"], row["upstreamStatus"]) for row in tables["actor"]}


async def tables(database: Database) -> dict[str, list[dict[str, Any]]]:
    return await engine.tables_of(database, ["actor", "actor_sync"])


async def test_handles_and_states_step_by_step(database: Database) -> None:
    await engine.create(database, DECLARATIONS)
    for event, (said, expected) in zip(events(), HISTORY, strict=True):
        await engine.append(database, [event])
        await engine.project(database, declarations=DECLARATIONS)
        assert handles(await tables(database)) == expected, said
    found = await tables(database)
    assert found["actor"][0]["indexedAt"] == events()[-1].indexed_at


@pytest.mark.parametrize("seed", range(3))
async def test_windows_and_rewinds_and_a_rebuild_end_the_same(
    database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    length = chance.randrange(4, len(HISTORY) + 1)
    told = events()[:length]
    told += told[chance.randrange(length) :]
    await engine.create(database, DECLARATIONS)
    await engine.append(database, told)
    await engine.project(
        database, window_events=chance.choice((2, 3, 100)), declarations=DECLARATIONS
    )
    assert handles(await tables(database)) == HISTORY[length - 1][1]
    before = await tables(database)
    connection = await database.connect("test")
    await connection.execute("""UPDATE bsky.actor SET "takedownRef" = 'x' WHERE did = $1""", B)
    outcome = await rebuild(database, declarations=DECLARATIONS)
    assert sorted(outcome.compared) == ["actor", "actor_sync"]
    assert outcome.comparison.is_equal
    await connection.execute("""UPDATE bsky.actor SET "indexedAt" = '' WHERE did = $1""", B)
    outcome = await rebuild(database, declarations=DECLARATIONS)
    assert outcome.comparison.rows == (B in handles(before))
    after = await tables(database)
    kept = [row.pop("takedownRef") for row in after["actor"] if row["did"] == B]
    assert kept == ["x"] * len(kept)
    for row in (*before["actor"], *after["actor"]):
        row.pop("takedownRef", None)
    assert after == before
    await connection.close()


async def test_a_revision_never_goes_back(database: Database) -> None:
    def commit(number: int, did: str = A) -> Event:
        uri = ("app.example.unknown", f"key{number}")
        return Event(0, did, "commit", "delete", *uri, tid(number), None, None, NOON_US + number)

    def sync(number: int, cid: str) -> Event:
        inner = json.dumps({"did": A, "commit": cid}).encode()
        rev = tid(number)
        return Event(0, A, "sync", "backfilled", None, None, rev, None, inner, NOON_US + number)

    await engine.create(database, DECLARATIONS)
    steps = [
        (commit(2), [("", 2)]),
        (commit(1), [("", 2)]),
        (sync(2, "bafy"), [("bafy", 2)]),
        (commit(2), [("bafy", 2)]),
        (commit(5), [("", 5)]),
        (event_of(9, (A, "account", "deleted")), []),
        (commit(3), [("", 3)]),
    ]
    for number, (event, expected) in enumerate(steps):
        await engine.append(database, [event])
        await engine.project(database, declarations=DECLARATIONS)
        rows = (await tables(database))["actor_sync"]
        assert [(r["commitCid"], r["repoRev"]) for r in rows] == [
            (cid, tid(rev)) for cid, rev in expected
        ], number
