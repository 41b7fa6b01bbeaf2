"""`op_thread_reply`: an account's replies in its own threads, and what stays of deleted ones."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from events.event import Event
from projections.op_thread_reply import op_thread_replies
from projector.database import Database
from projector.settings import Settings
from tests.support import engine
from tests.support.histories import tid
from tests.support.rebuilding import rebuild
from tests.support.records import CID, DID, event_of, post

ROOT, OTHER = f"at://{DID}/app.bsky.feed.post/root", f"at://{DID}/app.bsky.feed.post/other"
PARENT = f"at://{DID}/app.bsky.feed.post/parent"
STRANGER = "at://did:plc:zzzzzzzzzzzzzzzzzzzzzzzz/app.bsky.feed.post/root"

# What is said of the one post, and the (rootUri, deletedAt) that is there then; None: no row.
STEPS: list[tuple[str, str | None, tuple[str, int | None] | None]] = [
    ("create", ROOT, (ROOT, None)),
    ("delete", None, (ROOT, 2)),
    ("delete", None, (ROOT, 2)),
    ("create", ROOT, (ROOT, None)),
    ("update", OTHER, (OTHER, None)),
    ("delete", None, (OTHER, 6)),
    ("create", STRANGER, None),
    ("delete", None, None),
    ("create", OTHER, (OTHER, None)),
    ("update", STRANGER, None),
    ("update", ROOT, (ROOT, None)),
    ("delete", None, (ROOT, 12)),
    ("gone", None, None),
    ("delete", None, None),
    ("create", ROOT, (ROOT, None)),
    ("delete", None, (ROOT, 16)),
]


def reply_to(root: str | None) -> Event:
    """A create of the one post, as a reply in that thread."""
    refs = {"root": {"uri": root, "cid": CID}, "parent": {"uri": PARENT, "cid": CID}}
    return event_of(post(reply=refs))


def events() -> list[Event]:
    """The steps as events, an hour each."""
    found = []
    for number, (action, root, _) in enumerate(STEPS, 1):
        base = reply_to(root)
        time_us = base.time_us + number * 3_600_000_000
        if action == "gone":
            found.append(
                Event(0, DID, "account", "deleted", None, None, None, None, b"{}", time_us)
            )
            continue
        record = None if action == "delete" else base.record
        found.append(
            msgspec.structs.replace(
                base, action=action, record=record, rev=tid(number), time_us=time_us,
                source_cursor=str(number),
            )
        )  # fmt: skip
    return found


def rows_after(number: int) -> list[dict[str, Any]]:
    """The rows that there must be after so many steps."""
    expected = STEPS[number - 1][2]
    if expected is None:
        return []
    root, deleted = expected
    every = events()
    at = None if deleted is None else every[deleted - 1].indexed_at
    return [{"rootUri": root, "parentUri": PARENT, "uri": every[0].uri, "deletedAt": at}]


async def rows(database: Database) -> list[dict[str, Any]]:
    return (await engine.tables_of(database, ["op_thread_reply"]))["op_thread_reply"]


async def test_a_deleted_reply_stays_until_it_comes_again(database: Database) -> None:
    await engine.create(database, [op_thread_replies])
    for number, event in enumerate(events(), 1):
        await engine.append(database, [event])
        await engine.project(database, declarations=[op_thread_replies])
        assert await rows(database) == rows_after(number), number


@pytest.mark.parametrize("seed", range(4))
async def test_windows_repeats_and_a_rebuild_make_the_same_row(
    database: Database, seed: int
) -> None:
    """The source rewinds; whatever the windows are, the last state is the same."""
    chance = random.Random(seed)
    length = chance.randrange(6, len(STEPS) + 1)
    told = events()[:length]
    told += told[chance.randrange(length) :]
    await engine.create(database, [op_thread_replies])
    await engine.append(database, told)
    window = chance.choice((2, 3, 5, 100))
    await engine.project(database, window_events=window, declarations=[op_thread_replies])
    assert await rows(database) == rows_after(length)
    outcome = await rebuild(database, declarations=[op_thread_replies])
    assert outcome.comparison.is_equal
    assert outcome.compared == ["op_thread_reply"]
    assert await rows(database) == rows_after(length)


@pytest.mark.parametrize("roots", [(ROOT, STRANGER), (STRANGER, ROOT)])
async def test_of_two_creates_the_last_says_whether_there_is_a_row(
    database: Database, roots: tuple[str, str]
) -> None:
    """Nothing else is said of the post, and of a create that makes no row nothing is noted."""
    told = [
        msgspec.structs.replace(event, action="create", rev=tid(n), source_cursor=str(n))
        for n, event in enumerate(map(reply_to, roots), 1)
    ]
    await engine.create(database, [op_thread_replies])
    await engine.append(database, told)
    await engine.project(database, window_events=1, declarations=[op_thread_replies])
    found = await rows(database)
    assert [row["rootUri"] for row in found] == [root for root in roots[1:] if root == ROOT]
    one = Settings(rebuild_share=1.0, window_events_max=1)
    outcome = await rebuild(database, declarations=[op_thread_replies], settings=one)
    assert outcome.comparison.is_equal
    assert await rows(database) == found
