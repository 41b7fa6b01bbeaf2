"""`app.bsky.graph.referencelistoptout` → `reference_list_opt_out`: one row per account and list."""

from __future__ import annotations

import re
from typing import Literal

import msgspec

from events.event import Event
from events.syntax import is_did, is_record_key
from projections.lexicon import check_at_uri
from projections.rows import ddl, framed, framed_columns
from projector.declare import Projection, Row, Table

_list_uri = re.compile("at://([^/?#]+)/app[.]bsky[.]graph[.]list/([^/?#]+)").fullmatch


class OptOut(msgspec.Struct, gc=False):
    """An account's wish not to be shown on a list."""

    type: Literal["app.bsky.graph.referencelistoptout"] = msgspec.field(name="$type")
    subject: str
    createdAt: str


def opt_out_row(event: Event, record: OptOut) -> Row | None:
    """The row of the table's columns; none for a subject that is not the plain uri of a list."""
    check_at_uri(record.subject, "$.subject")
    row = framed(event, record.createdAt, record.subject)
    found = _list_uri(record.subject)
    return row if found and is_did(found[1]) and is_record_key(found[2]) else None


reference_list_opt_outs = Projection(
    name="reference_list_opt_out",
    version=1,
    collection="app.bsky.graph.referencelistoptout",
    record=OptOut,
    row=opt_out_row,
    table=Table(
        "reference_list_opt_out", framed_columns("subjectUri"), unique=("creator", "subjectUri")
    ),
    ddl=ddl("reference_list_opt_out.sql", "duplicate_record.sql"),
)
