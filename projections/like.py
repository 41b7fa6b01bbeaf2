"""`app.bsky.feed.like` → `like`: one row per account and subject."""

from __future__ import annotations

from typing import Literal

import msgspec

from projections.rows import POINTER_COLUMNS, Pointer, ddl, pointer_row
from projector.declare import Projection, Table


class Like(Pointer, gc=False, kw_only=True):
    """A like of any record."""

    type: Literal["app.bsky.feed.like"] = msgspec.field(name="$type")


likes = Projection(
    name="like",
    version=1,
    collection="app.bsky.feed.like",
    record=Like,
    row=pointer_row,
    table=Table("like", POINTER_COLUMNS, unique=("subject", "creator")),
    ddl=ddl("like.sql", "duplicate_record.sql"),
)
