"""`app.bsky.feed.threadgate` → `thread_gate`: one row per post that has one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from events.event import Event
from projections.lexicon import OpenUnion, Typed, check_at_uri
from projections.rows import check_gate, ddl, framed, framed_columns
from projector.declare import Projection, Row, Table


class ListRule(Typed, gc=False, tag="app.bsky.feed.threadgate#listRule"):
    """Those on a list may reply."""

    list: str


class MentionRule(Typed, gc=False, tag="app.bsky.feed.threadgate#mentionRule"):
    """Those whom the post mentions may reply."""


class FollowerRule(Typed, gc=False, tag="app.bsky.feed.threadgate#followerRule"):
    """The author's followers may reply."""


class FollowingRule(Typed, gc=False, tag="app.bsky.feed.threadgate#followingRule"):
    """Those whom the author follows may reply."""


_RULE = OpenUnion(ListRule | MentionRule | FollowerRule | FollowingRule)


class ThreadGate(msgspec.Struct, gc=False):
    """The author's word on who may reply; in the post's own repo, under its record key."""

    type: Literal["app.bsky.feed.threadgate"] = msgspec.field(name="$type")
    post: str
    createdAt: str
    allow: Annotated[list[Raw], Meta(max_length=5)] | UnsetType = UNSET
    hiddenReplies: Annotated[list[str], Meta(max_length=300)] | UnsetType = UNSET


def thread_gate_row(event: Event, record: ThreadGate) -> Row:
    """The row of the table's columns."""
    check_at_uri(record.post, "$.post")
    for at, raw in enumerate(record.allow or ()):
        match _RULE.decode(raw, f"$.allow[{at}]"):
            case ListRule(list=uri):
                check_at_uri(uri, f"$.allow[{at}].list")
    for at, uri in enumerate(record.hiddenReplies or ()):
        check_at_uri(uri, f"$.hiddenReplies[{at}]")
    check_gate(event, record.post)
    return framed(event, record.createdAt, record.post)


thread_gates = Projection(
    name="thread_gate",
    version=1,
    collection="app.bsky.feed.threadgate",
    record=ThreadGate,
    row=thread_gate_row,
    # The post is of the account's own repo, so that nobody else can claim the same.
    table=Table("thread_gate", framed_columns("postUri"), unique=("postUri",), account=None),
    ddl=ddl("thread_gate.sql", "duplicate_record.sql"),
)
