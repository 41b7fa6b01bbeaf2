"""`app.bsky.feed.repost` → `repost`: one row per account and subject."""

from __future__ import annotations

from typing import Literal

import msgspec

from projections.rows import POINTER_COLUMNS, Pointer, ddl, pointer_row
from projector.declare import Projection, Table


class Repost(Pointer, gc=False, kw_only=True):
    """A repost of any record."""

    type: Literal["app.bsky.feed.repost"] = msgspec.field(name="$type")


reposts = Projection(
    name="repost",
    version=1,
    collection="app.bsky.feed.repost",
    record=Repost,
    row=pointer_row,
    table=Table("repost", POINTER_COLUMNS, unique=("creator", "subject")),
    ddl=ddl("repost.sql", "duplicate_record.sql"),
)
