"""`app.bsky.graph.verification` → `verification`: one row per verifying and verified account."""

from __future__ import annotations

from typing import Literal

import msgspec

from events.event import Event
from projections.lexicon import check_did, check_handle, moment
from projections.rows import ddl, no_cid, storable
from projector.declare import Projection, Row, Table


class Verification(msgspec.Struct, gc=False):
    """A statement that an account is who it says; whether to trust it, the reader decides."""

    type: Literal["app.bsky.graph.verification"] = msgspec.field(name="$type")
    subject: str
    handle: str
    displayName: str
    createdAt: str


def verification_row(event: Event, record: Verification) -> Row:
    """The row of the table's columns."""
    check_did(record.subject, "$.subject")
    check_handle(record.handle, "$.handle")
    return (
        event.uri,
        event.cid or no_cid(),
        event.rkey,
        event.did,
        record.subject,
        record.handle,
        storable(record.displayName),
        moment(record.createdAt),
        event.indexed_at,
    )


verifications = Projection(
    name="verification",
    version=1,
    collection="app.bsky.graph.verification",
    record=Verification,
    row=verification_row,
    table=Table(
        "verification",
        ("uri", "cid", "rkey", "creator", "subject", "handle", "displayName", "createdAt",
         "indexedAt"),
        unique=("subject", "creator"),
        account=None,
    ),
    ddl=ddl("verification.sql", "duplicate_record.sql"),
)  # fmt: skip
