"""`app.bsky.graph.listblock` → `list_block`: one row per account and blocked list."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.event import Event
from projections.lexicon import check_at_uri
from projections.rows import ddl, framed, framed_columns
from projector.declare import Projection, Row, Table


class ListBlock(msgspec.Struct, gc=False):
    """A block of all who are on a list; that the subject is a list is not asked."""

    type: Literal["app.bsky.graph.listblock"] = msgspec.field(name="$type")
    subject: str
    createdAt: str


def list_block_row(event: Event, record: ListBlock) -> Row:
    """The row of the table's columns."""
    check_at_uri(record.subject, "$.subject")
    return framed(event, record.createdAt, record.subject)


list_blocks = Projection(
    name="list_block",
    version=1,
    collection="app.bsky.graph.listblock",
    record=ListBlock,
    row=list_block_row,
    table=Table("list_block", framed_columns("subjectUri"), unique=("creator", "subjectUri")),
    ddl=ddl("list_block.sql", "duplicate_record.sql"),
)
