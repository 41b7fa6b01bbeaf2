"""`app.bsky.feed.postgate` → `post_gate`: one row per post that has one."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from events.event import Event
from projections.lexicon import OpenUnion, Typed, check_at_uri
from projections.rows import check_gate, ddl, framed, framed_columns
from projections.verdicts import DISABLE
from projector.declare import Child, Projection, Row, Table


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
    """The row of the table's columns, and that of the rule."""
    check_at_uri(record.post, "$.post")
    for at, uri in enumerate(record.detachedEmbeddingUris or ()):
        check_at_uri(uri, f"$.detachedEmbeddingUris[{at}]")
    rules = [_RULE.decode(raw, f"$.embeddingRules[{at}]")
             for at, raw in enumerate(record.embeddingRules or ())]  # fmt: skip
    disabled = any(isinstance(rule, DisableRule) for rule in rules)
    check_gate(event, record.post)
    row = framed(event, record.createdAt, record.post)
    return (*row, ((event.uri, DISABLE),) if disabled else None)


post_gates = Projection(
    name="post_gate",
    version=2,
    collection="app.bsky.feed.postgate",
    record=PostGate,
    row=post_gate_row,
    # Of each post there is one record key that its gate can have, so that no two are of one post.
    table=Table("post_gate", framed_columns("postUri"), account=None),
    children=(Child("post_gate_rule", ("gateUri", "rule"), hidden=True),),
    ddl=ddl("post_gate.sql"),
)
