"""Every collection through log and daemon into its tables: made, updated, deleted, removed."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from events.event import Event
from projector.database import Database
from tests.support import engine
from tests.support.histories import tid
from tests.support.records import DID, event_of, like, post
from tests.support.samples import SAMPLES, sample

RECORDS: dict[str, dict[str, Any]] = {
    "app.bsky.feed.like": like(),
    "app.bsky.feed.repost": like(**{"$type": "app.bsky.feed.repost"}),
    "app.bsky.feed.post": post(),
    **{name: sample(name) for name in SAMPLES},
}
TABLES: dict[str, tuple[str, ...]] = {
    "app.bsky.feed.like": ("like",),
    "app.bsky.feed.repost": ("repost", "feed_item"),
    "app.bsky.feed.post": (
        "post",
        "feed_item",
        "quote",
        "post_embed_record",
        "post_embed_image",
        "op_thread_reply",
    ),
    "app.bsky.graph.block": ("actor_block",),
    "app.bsky.graph.listblock": ("list_block",),
    "app.bsky.graph.listitem": ("list_item",),
    "app.bsky.graph.list": ("list",),
    "app.bsky.graph.starterpack": ("starter_pack",),
    "app.bsky.feed.generator": ("feed_generator",),
    "app.bsky.labeler.service": ("labeler",),
    "app.bsky.feed.threadgate": ("thread_gate",),
    "app.bsky.feed.postgate": ("post_gate",),
    "app.bsky.graph.verification": ("verification",),
    "app.bsky.graph.referencelistoptout": ("reference_list_opt_out",),
    "app.bsky.actor.profile": ("profile",),
}
"""The tables that have a row of a record, beside `record`."""
KEYS = ("uri", "postUri")


class History:
    """Events of one account, made one after the other."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def add(self, collection: str, action: str, cid: str = "") -> None:
        """An event of the collection's one record."""
        base, number = event_of(RECORDS[collection]), len(self.events) + 1
        record = None if action == "delete" else base.record
        self.events.append(
            msgspec.structs.replace(
                base, action=action, rev=tid(number), record=record,
                cid=base.cid and (base.cid[:-6] + cid if cid else base.cid),
                source_cursor=str(number), time_us=base.time_us + number * 1_000_000,
            )
        )  # fmt: skip

    def remove_account(self) -> None:
        """The account is deleted."""
        number = len(self.events) + 1
        inner = json.dumps({"did": DID}).encode()
        time_us = self.events[-1].time_us + 1_000_000
        self.events.append(
            Event(0, DID, "account", "deleted", None, None, None, None, inner, time_us, str(number))
        )


async def filled(database: Database, events: list[Event], window: int) -> dict[str, Any]:
    """All tables after these events."""
    await engine.create(database, engine.ALL)
    await engine.append(database, events)
    await engine.project(database, window_events=window, declarations=engine.ALL)
    assert await engine.differences(database, engine.ALL) == []
    return await engine.tables_of(database, engine.table_names(engine.ALL))


def uris(tables: dict[str, Any], name: str) -> list[str]:
    """The records that have rows in a table; of a feed or quote the record itself."""
    key = "postUri" if name.startswith("post_embed") else "uri"
    return [row[key] for row in tables[name]]


WINDOWS = pytest.mark.parametrize("window", [1, 100])


@WINDOWS
async def test_the_first_update_of_an_unseen_record_makes_it(
    database: Database, window: int
) -> None:
    history = History()
    for collection in RECORDS:
        history.add(collection, "update")
    tables = await filled(database, history.events, window)
    assert sorted(uris(tables, "record")) == sorted(e.uri for e in history.events)
    for event in history.events:
        for name in TABLES.get(event.collection or "", ()):
            mine = [uri for uri in uris(tables, name) if f"/{event.collection}/" in uri]
            assert mine == [event.uri], name
    with_rows = {name for names in TABLES.values() for name in names} | {"record"}
    others = {"post_agg", "profile_agg", "notification", "actor_sync"}
    assert {name for name, rows in tables.items() if rows} == with_rows | others


@WINDOWS
async def test_an_update_replaces(database: Database, window: int) -> None:
    history = History()
    for action, cid in (("create", ""), ("update", "aaaaaa")):
        for collection in RECORDS:
            history.add(collection, action, cid)
    tables = await filled(database, history.events, window)
    for name, rows in tables.items():
        for row in rows:
            if "cid" in row:
                assert row["cid"].endswith("aaaaaa"), name
    assert len(tables["record"]) == len(RECORDS)


@WINDOWS
@pytest.mark.parametrize("end", ["delete", "account"])
async def test_what_is_deleted_leaves_nothing(database: Database, window: int, end: str) -> None:
    history = History()
    for collection in RECORDS:
        history.add(collection, "create")
    if end == "account":
        history.remove_account()
    else:
        for collection in RECORDS:
            history.add(collection, "delete")
    tables = await filled(database, history.events, window)
    # Of the repo it is known how far it has come, and where its threads lost a post.
    stays = set() if end == "account" else {"actor_sync", "op_thread_reply"}
    assert {name for name, rows in tables.items() if rows} == stays
    assert all(row["deletedAt"] for row in tables["op_thread_reply"])


async def test_a_takedown_survives_an_update_and_not_a_delete(database: Database) -> None:
    """Scenario 65 of the AppView's indexer."""
    history = History()
    names = ("app.bsky.feed.post", "app.bsky.graph.block")
    for name in names:
        history.add(name, "create")
    await filled(database, history.events, 100)
    connection = await database.connect("test moderator")
    await connection.execute(
        """UPDATE bsky.record SET "takedownRef" = 'TAKEDOWN', tags = '["x"]'"""
    )
    history.add(names[0], "update", "aaaaaa")
    history.add(names[1], "delete")
    history.add(names[1], "create")
    await engine.append(database, history.events[2:])
    await engine.project(database, declarations=engine.ALL)
    sql = "SELECT split_part(uri, '/', 4), cid, \"takedownRef\", tags::text FROM bsky.record"
    rows = {row[0]: tuple(row)[1:] for row in await connection.fetch(sql)}
    await connection.close()
    assert rows[names[0]][0].endswith("aaaaaa")
    assert rows[names[0]][1:] == ("TAKEDOWN", '["x"]')
    assert rows[names[1]][1:] == (None, None)


async def test_a_record_that_has_no_row_any_more_loses_it(database: Database) -> None:
    """An opt-out of a list, updated to one of what is no list; and back."""
    history = History()
    name = "app.bsky.graph.referencelistoptout"
    history.add(name, "create")
    history.add(name, "update", "aaaaaa")
    other = sample(name, subject=f"at://{DID}")
    history.events[1] = msgspec.structs.replace(
        history.events[1], record=json.dumps(other).encode()
    )
    tables = await filled(database, history.events, 1)
    assert (uris(tables, "reference_list_opt_out"), len(tables["record"])) == ([], 1)
    history.add(name, "update", "bbbbbb")
    await engine.append(database, history.events[2:])
    await engine.project(database, declarations=engine.ALL)
    tables = await engine.tables_of(database, ["reference_list_opt_out"])
    assert uris(tables, "reference_list_opt_out") == [history.events[0].uri]
