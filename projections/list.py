"""`app.bsky.graph.list` → `list`: one row per list."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from events.event import Event
from projections.blobs import Blob, avatar_cid
from projections.lexicon import check_bytes, invalid
from projections.richtext import Facet, check_labels, facets_json
from projections.rows import ddl, described, framed, framed_columns, storable
from projector.declare import Projection, Row, Table

NAME_BYTES_MAX = 64


class List(msgspec.Struct, gc=False):
    """A list of accounts; its purpose may be an unknown one."""

    type: Literal["app.bsky.graph.list"] = msgspec.field(name="$type")
    name: str
    purpose: str
    createdAt: str
    description: str | UnsetType = UNSET
    descriptionFacets: list[Facet] | UnsetType = UNSET
    avatar: Blob | UnsetType = UNSET
    labels: Raw | UnsetType = UNSET


def list_row(event: Event, record: List) -> Row:
    """The row of the table's columns."""
    if not record.name:
        raise invalid("Expected at least 1 byte", record.name, "$.name")
    check_bytes(record.name, "$.name", NAME_BYTES_MAX)
    if record.labels is not UNSET:
        check_labels(record.labels, "$.labels")
    return framed(
        event,
        record.createdAt,
        storable(record.name),
        storable(record.purpose),
        described(record.description),
        facets_json(record.descriptionFacets, event.record, "$.descriptionFacets"),
        avatar_cid(record.avatar, "$.avatar"),
    )


lists = Projection(
    name="list",
    version=1,
    collection="app.bsky.graph.list",
    record=List,
    row=list_row,
    table=Table(
        "list", framed_columns("name", "purpose", "description", "descriptionFacets", "avatarCid")
    ),
    ddl=ddl("list.sql"),
)
