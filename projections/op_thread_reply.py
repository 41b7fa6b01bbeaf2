"""Replies of an account in threads that it began → `op_thread_reply`: how its thread goes on.

A deleted reply keeps its row, with the time of its deletion, so that what it was answered by stays
a part of the thread; one that comes again has none of that.
"""

from __future__ import annotations

from msgspec import UNSET

from events.event import Event
from projections.post import Post, post_row, posts
from projections.rows import ddl
from projector.declare import Projection, Row, Table


def op_thread_row(event: Event, record: Post) -> Row | None:
    """The row of a reply to the account's own thread; None for any other post."""
    post_row(event, record)
    reply = record.reply
    if reply is UNSET or reply.root.uri.split("/", 3)[2] != event.did:
        return None
    return event.uri, reply.root.uri, reply.parent.uri, None


op_thread_replies = Projection(
    name="op_thread_reply",
    version=1,
    collection=posts.collection,
    record=Post,
    row=op_thread_row,
    table=Table(
        "op_thread_reply",
        ("uri", "rootUri", "parentUri", "deletedAt"),
        account=None,
        time=None,
        tombstone="deletedAt",
    ),
    ddl=ddl("op_thread_reply.sql"),
)
