"""`app.bsky.graph.starterpack` → `starter_pack`: one row per pack; the rest is in `record`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from events.event import Event
from projections.lexicon import Typed, check_at_uri, check_text, invalid
from projections.richtext import Facet, check_facets
from projections.rows import ddl, described, framed, framed_columns, storable
from projector.declare import Projection, Row, Table

NAME_BYTES_MAX = 500
NAME_GRAPHEMES_MAX = 50


class FeedItem(Typed, gc=False, tag="app.bsky.graph.starterpack#feedItem"):
    """A feed of the pack."""

    uri: str


class StarterPack(msgspec.Struct, gc=False):
    """A list and some feeds to start with."""

    type: Literal["app.bsky.graph.starterpack"] = msgspec.field(name="$type")
    name: str
    list_: str = msgspec.field(name="list")
    createdAt: str
    description: str | UnsetType = UNSET
    descriptionFacets: list[Facet] | UnsetType = UNSET
    feeds: Annotated[list[FeedItem], Meta(max_length=3)] | UnsetType = UNSET


def starter_pack_row(event: Event, record: StarterPack) -> Row:
    """The row of the table's columns."""
    if not record.name:
        raise invalid("Expected at least 1 byte", record.name, "$.name")
    check_text(record.name, "$.name", NAME_BYTES_MAX, NAME_GRAPHEMES_MAX)
    check_at_uri(record.list_, "$.list")
    described(record.description)
    if record.descriptionFacets is not UNSET:
        check_facets(record.descriptionFacets, "$.descriptionFacets")
    for at, feed in enumerate(record.feeds or ()):
        check_at_uri(feed.uri, f"$.feeds[{at}].uri")
    return framed(event, record.createdAt, storable(record.name))


starter_packs = Projection(
    name="starter_pack",
    version=1,
    collection="app.bsky.graph.starterpack",
    record=StarterPack,
    row=starter_pack_row,
    table=Table("starter_pack", framed_columns("name")),
    ddl=ddl("starter_pack.sql"),
)
