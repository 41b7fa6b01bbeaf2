"""`app.bsky.feed.postgate` → `post_gate`: one row per post that has one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from events.event import Event
from projections.lexicon import OpenUnion, Typed, check_at_uri
from projections.rows import check_gate, ddl, framed, framed_columns
from projector.declare import Projection, Row, Table


class DisableRule(Typed, gc=False, tag="app.bsky.feed.postgate#disableRule"):
    """Nobody else may embed the post."""


_RULE = OpenUnion(DisableRule)


class PostGate(msgspec.Struct, gc=False):
    """The author's word on who may embed; in the post's own repo, under its record key."""

    type: Literal["app.bsky.feed.postgate"] = msgspec.field(name="$type")
    post: str
    createdAt: str
    detachedEmbeddingUris: Annotated[list[str], Meta(max_length=50)] | UnsetType = UNSET
    embeddingRules: Annotated[list[Raw], Meta(max_length=5)] | UnsetType = UNSET


def post_gate_row(event: Event, record: PostGate) -> Row:
    """The row of the table's columns."""
    check_at_uri(record.post, "$.post")
    for at, uri in enumerate(record.detachedEmbeddingUris or ()):
        check_at_uri(uri, f"$.detachedEmbeddingUris[{at}]")
    for at, raw in enumerate(record.embeddingRules or ()):
        _RULE.decode(raw, f"$.embeddingRules[{at}]")
    check_gate(event, record.post)
    return framed(event, record.createdAt, record.post)


post_gates = Projection(
    name="post_gate",
    version=1,
    collection="app.bsky.feed.postgate",
    record=PostGate,
    row=post_gate_row,
    # The post is of the account's own repo, so that nobody else can claim the same.
    table=Table("post_gate", framed_columns("postUri"), unique=("postUri",), account=None),
    ddl=ddl("post_gate.sql", "duplicate_record.sql"),
)
