"""`app.bsky.feed.generator` → `feed_generator`: one row per feed."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from events.event import Event
from projections.blobs import Blob, avatar_cid
from projections.lexicon import check_did, check_text
from projections.richtext import Facet, check_labels, facets_json
from projections.rows import ddl, described, framed, framed_columns, storable
from projector.declare import Projection, Row, Table

NAME_BYTES_MAX = 240
NAME_GRAPHEMES_MAX = 24


class Generator(msgspec.Struct, gc=False):
    """A feed, and the service that makes it."""

    type: Literal["app.bsky.feed.generator"] = msgspec.field(name="$type")
    did: str
    displayName: str
    createdAt: str
    description: str | UnsetType = UNSET
    descriptionFacets: list[Facet] | UnsetType = UNSET
    avatar: Blob | UnsetType = UNSET
    acceptsInteractions: bool | UnsetType = UNSET
    labels: Raw | UnsetType = UNSET
    contentMode: str | UnsetType = UNSET


def generator_row(event: Event, record: Generator) -> Row:
    """The row of the table's columns."""
    check_did(record.did, "$.did")
    check_text(record.displayName, "$.displayName", NAME_BYTES_MAX, NAME_GRAPHEMES_MAX)
    if record.labels is not UNSET:
        check_labels(record.labels, "$.labels")
    return framed(
        event,
        record.createdAt,
        record.did,
        storable(record.displayName),
        described(record.description),
        facets_json(record.descriptionFacets, event.record, "$.descriptionFacets"),
        avatar_cid(record.avatar, "$.avatar"),
    )


feed_generators = Projection(
    name="feed_generator",
    version=1,
    collection="app.bsky.feed.generator",
    record=Generator,
    row=generator_row,
    table=Table(
        "feed_generator",
        framed_columns("feedDid", "displayName", "description", "descriptionFacets", "avatarCid"),
    ),
    ddl=ddl("feed_generator.sql"),
)
