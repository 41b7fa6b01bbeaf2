"""Posts and reposts → `feed_item`: what an account's feed is made of.

A repost that is a duplicate has its row, too.
"""

from __future__ import annotations

from events.event import Event
from projections.lexicon import moment
from projections.post import Post, post_row, posts
from projections.repost import Repost, reposts
from projections.rows import ddl, pointer_row
from projector.declare import Projection, Reading, Row, Table


def post_item(event: Event, record: Post) -> Row:
    """The row of a post."""
    uri, cid, creator, *_ = post_row(event, record)
    return uri, cid, "post", uri, creator, _sort_at(event, record.createdAt)


def repost_item(event: Event, record: Repost) -> Row:
    """The row of a repost."""
    uri, cid, creator, subject, *_ = pointer_row(event, record)
    return uri, cid, "repost", subject, creator, _sort_at(event, record.createdAt)


def _sort_at(event: Event, created_at: str) -> str:
    return min(event.indexed_at, moment(created_at))


feed_items = Projection(
    name="feed_item",
    version=1,
    collection=posts.collection,
    record=Post,
    row=post_item,
    also={reposts.collection: Reading(Repost, repost_item)},
    table=Table(
        "feed_item",
        ("uri", "cid", "type", "postUri", "originatorDid", "sortAt"),
        account="originatorDid",
        time="sortAt",
    ),
    ddl=ddl("feed_item.sql"),
)
