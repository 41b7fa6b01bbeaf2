"""`app.bsky.graph.block` → `actor_block`: one row per account and blocked account."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.event import Event
from projections.lexicon import check_did
from projections.rows import ddl, framed, framed_columns
from projector.declare import Projection, Row, Table


class Block(msgspec.Struct, gc=False):
    """A block; of oneself, too."""

    type: Literal["app.bsky.graph.block"] = msgspec.field(name="$type")
    subject: str
    createdAt: str


def block_row(event: Event, record: Block) -> Row:
    """The row of the table's columns."""
    check_did(record.subject, "$.subject")
    return framed(event, record.createdAt, record.subject)


blocks = Projection(
    name="block",
    version=1,
    collection="app.bsky.graph.block",
    record=Block,
    row=block_row,
    table=Table("actor_block", framed_columns("subjectDid"), unique=("creator", "subjectDid")),
    ddl=ddl("block.sql", "duplicate_record.sql"),
)
