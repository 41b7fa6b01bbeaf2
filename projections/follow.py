"""`app.bsky.graph.follow` → `follow`: one row per account and followed account."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, UnsetType

from events.event import Event
from projections.lexicon import StrongRef, check_did, check_ref, moment
from projections.rows import ddl, no_cid
from projector.declare import Projection, Row, Table


class Follow(msgspec.Struct, gc=False):
    """A follow; of oneself, too. `via` is checked, but not kept."""

    type: Literal["app.bsky.graph.follow"] = msgspec.field(name="$type")
    subject: str
    createdAt: str
    via: StrongRef | UnsetType = UNSET


def follow_row(event: Event, record: Follow) -> Row:
    """The row of the table's columns."""
    subject = record.subject
    check_did(subject, "$.subject")
    if record.via is not UNSET:
        check_ref(record.via, "$.via")
    return (
        event.uri,
        event.cid or no_cid(),
        event.did,
        subject,
        moment(record.createdAt),
        event.indexed_at,
    )


follows = Projection(
    name="follow",
    version=1,
    collection="app.bsky.graph.follow",
    record=Follow,
    row=follow_row,
    table=Table(
        "follow",
        ("uri", "cid", "creator", "subjectDid", "createdAt", "indexedAt"),
        unique=("creator", "subjectDid"),
    ),
    ddl=ddl("follow.sql", "duplicate_record.sql"),
)
