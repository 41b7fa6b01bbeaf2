"""`app.bsky.graph.listitem` → `list_item`: one row per list and account on it."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.event import Event
from projections.lexicon import check_at_uri, check_did, invalid
from projections.rows import ddl, framed, framed_columns
from projector.declare import Projection, Row, Table


class ListItem(msgspec.Struct, gc=False):
    """An account on a list of the same repo."""

    type: Literal["app.bsky.graph.listitem"] = msgspec.field(name="$type")
    subject: str
    list_: str = msgspec.field(name="list")
    createdAt: str


def list_item_row(event: Event, record: ListItem) -> Row:
    """The row of the table's columns."""
    check_did(record.subject, "$.subject")
    check_at_uri(record.list_, "$.list")
    if record.list_.split("/", 3)[2] != event.did:
        raise invalid("Expected a list of the same repo", record.list_, "$.list")
    return framed(event, record.createdAt, record.subject, record.list_)


list_items = Projection(
    name="list_item",
    version=1,
    collection="app.bsky.graph.listitem",
    record=ListItem,
    row=list_item_row,
    # The list is of the account's own repo, so that nobody else can claim the same.
    table=Table(
        "list_item", framed_columns("subjectDid", "listUri"), unique=("listUri", "subjectDid")
    ),
    ddl=ddl("list_item.sql", "duplicate_record.sql"),
)
