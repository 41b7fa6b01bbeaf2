"""`feed_item`, which posts and reposts fill; and reposts, whose item is there even for a loser."""

from __future__ import annotations

from typing import Final

from events.event import Event
from projections.reference import telling
from projections.reference.reading import Item
from projections.reference.rules import Gone, Made, TableRules
from projections.repost import reposts
from projector.declare import Row
from projector.effects import Doing, Effect, do

PUT: Final = """
INSERT INTO feed_item (uri, cid, type, "postUri", "originatorDid", "sortAt")
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""
DROP: Final = "DELETE FROM feed_item WHERE uri = $1"


def put_item(row: Row, kind: str, post: str, created_at: str, indexed_at: str) -> Effect:
    """The item of a row; one of its uri that was left behind stays as it is."""
    uri, cid, creator, *_ = row
    yield from do(PUT, uri, cid, kind, post, creator, min(created_at, indexed_at))


class RepostRules(TableRules):
    """Reposts."""

    def __init__(self) -> None:
        super().__init__(reposts, on_insert=telling.repost, forgets=True)

    def insert(self, item: Item) -> Doing[Made | None]:
        """As of any table, and the item whatever becomes of the row."""
        made = yield from super().insert(item)
        assert item.row is not None
        _, _, _, subject, _, created_at, indexed_at, *_ = item.row
        yield from put_item(item.row, "repost", subject, created_at, indexed_at)
        return made

    def delete(self, event: Event) -> Doing[Gone | None]:
        """As of any table, and the item."""
        gone = yield from super().delete(event)
        yield from do(DROP, event.uri)
        return gone
