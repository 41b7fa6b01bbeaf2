"""`app.bsky.feed.threadgate` → `thread_gate`: one row per post that has one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from events.event import Event
from projections.lexicon import OpenUnion, Typed, check_at_uri
from projections.rows import check_gate, ddl, framed, framed_columns
from projections.verdicts import CLOSED, FOLLOWER, FOLLOWING, LIST, MENTION
from projector.declare import Child, Children, Projection, Row, Table


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
    """The row of the table's columns, those of the rules, and of the replies that it hides."""
    check_at_uri(record.post, "$.post")
    rules = _rules(event.uri, record.allow)
    hidden = dict.fromkeys(record.hiddenReplies or ())
    for at, uri in enumerate(record.hiddenReplies or ()):
        check_at_uri(uri, f"$.hiddenReplies[{at}]")
    check_gate(event, record.post)
    return (
        *framed(event, record.createdAt, record.post),
        rules,
        tuple([(event.uri, uri) for uri in hidden]) or None,
    )


def _rules(uri: str, allow: list[Raw] | UnsetType) -> Children | None:
    """Each rule once; there are none where nothing is said of who may reply."""
    if allow is UNSET:
        return None
    rules: dict[tuple[str, str | None], None] = {(CLOSED, None): None}
    for at, raw in enumerate(allow):
        match _RULE.decode(raw, f"$.allow[{at}]"):
            case ListRule(list=of):
                check_at_uri(of, f"$.allow[{at}].list")
                rules[LIST, of] = None
            case MentionRule():
                rules[MENTION, None] = None
            case FollowerRule():
                rules[FOLLOWER, None] = None
            case FollowingRule():
                rules[FOLLOWING, None] = None
    return tuple([(uri, *rule) for rule in rules])


thread_gates = Projection(
    name="thread_gate",
    version=3,
    collection="app.bsky.feed.threadgate",
    record=ThreadGate,
    row=thread_gate_row,
    # Of each post there is one record key that its gate can have, so that no two are of one post.
    table=Table("thread_gate", framed_columns("postUri"), account=None),
    children=(
        Child("thread_gate_rule", ("gateUri", "rule", "list"), hidden=True),
        Child("thread_gate_hidden", ("gateUri", "replyUri"), hidden=True),
    ),
    ddl=ddl("thread_gate.sql"),
)
