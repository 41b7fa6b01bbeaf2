"""Posts: their row with its verdicts, what they embed, quotes, self-replies, feed items."""

from __future__ import annotations

import json
from typing import Any, Final

from msgspec import UNSET

from events.event import Event
from projections.embeds import Images, read_embed
from projections.post import Post, posts
from projections.post_embed import EMBED_TABLES, is_post
from projections.reference.answers import answered, mentions
from projections.reference.counting import recount_quotes
from projections.reference.feeds import put_item
from projections.reference.reading import Item
from projections.reference.rules import Gone, Made, TableRules
from projections.reference.sql import inserting
from projections.reference.threads import PostSaid, notices_of
from projections.verdicts import JUDGED, did_of, judge_post
from projector.declare import Row
from projector.effects import Doing, Effect, Refused, do

COLUMNS: Final = posts.table.columns
EMBEDDED: Final = "post_embed_record"
QUOTES: Final = "quote"
INSERT: Final = f"{inserting('post', (*COLUMNS, *JUDGED))} RETURNING uri"
PUT_CHILD: Final = {child.name: inserting(child.name, child.columns) for child in EMBED_TABLES}
PUT_SELF_REPLY: Final = inserting("op_thread_reply", ("rootUri", "parentUri", "uri"))

DROP_ITEMS: Final = 'DELETE FROM feed_item WHERE "postUri" = $1'
DROP_QUOTES_OF: Final = "DELETE FROM quote WHERE subject = $1"
DROP_QUOTE: Final = "DELETE FROM quote WHERE uri = $1"
DROP_EMBEDDED: Final = (
    f'DELETE FROM {EMBEDDED} WHERE "postUri" = $1 RETURNING "embedUri", "embedCid"'
)
DROP_MEDIA: Final = tuple(
    f'DELETE FROM {child.name} WHERE "postUri" = $1'
    for child in EMBED_TABLES
    if child.name not in (EMBEDDED, QUOTES)
)
# Self-replies are of the account that began the thread, by which the key begins.
DROP_SELF_REPLY: Final = """
UPDATE op_thread_reply SET "deletedAt" = $2
WHERE uri = $1 AND "rootUri" >= 'at://' || $3 || '/' AND "rootUri" < 'at://' || $3 || '0'
"""


class PostRules(TableRules):
    """Posts."""

    renews = True

    def __init__(self) -> None:
        super().__init__(posts, forgets=True)

    def insert(self, item: Item) -> Doing[Made | None]:
        """Judges the post, and puts all its rows."""
        assert item.row is not None
        columns, embeds = _named(item.row)
        quoted = embeds[QUOTES][0][2] if embeds[QUOTES] else None
        creator, root = columns["creator"], columns["replyRoot"]
        verdict = yield from answered(
            judge_post(columns["uri"], creator, root, columns["replyParent"], quoted)
        )
        inserted = yield from do(INSERT, *columns.values(), *verdict)
        created_at, indexed_at = columns["createdAt"], columns["indexedAt"]
        yield from put_item(item.row, "post", columns["uri"], created_at, indexed_at)
        if not inserted:
            return None
        if root is not None and did_of(root) == creator:
            yield from do(PUT_SELF_REPLY, root, columns["replyParent"], columns["uri"])
        yield from _put_embeds(item.record, embeds)
        _, violates_gate, violates_rules = verdict
        said = PostSaid(
            uri=columns["uri"],
            cid=columns["cid"],
            creator=creator,
            sort_at=min(created_at, indexed_at),
            root=root,
            mentions=mentions(json.loads(item.json)) if item.record.facets else [],
            quoted=None if violates_rules else quoted,
            may_reply=not violates_gate,
        )
        return Made(item.row, (yield from notices_of(said)))

    def delete(self, event: Event) -> Doing[Gone | None]:
        """Takes all that the uri has, and all that points to it in feeds and quotes."""
        uri = event.uri
        gone = yield from super().delete(event)
        yield from do(DROP_ITEMS, uri)
        yield from do(DROP_SELF_REPLY, uri, event.indexed_at, event.did)
        yield from do(DROP_QUOTES_OF, uri)
        for statement in DROP_MEDIA:
            yield from do(statement, uri)
        for embedded, cid in (yield from do(DROP_EMBEDDED, uri)):
            if is_post(embedded):
                yield from do(DROP_QUOTE, uri)
                yield from recount_quotes(embedded, cid)
        return gone


def _named(row: Row) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row's columns, and its child rows by their tables."""
    width = len(COLUMNS)
    return dict(zip(COLUMNS, row, strict=False)), {
        child.name: cell or () for child, cell in zip(EMBED_TABLES, row[width:], strict=False)
    }


def _put_embeds(record: Post, embeds: dict[str, Any]) -> Effect:
    """Puts the embedded record, its quote, and then the media."""
    for name in (EMBEDDED, QUOTES):
        for row in embeds[name]:
            yield from do(PUT_CHILD[name], *row)
    for quote in embeds[QUOTES]:
        yield from recount_quotes(quote[2], quote[3])
    if record.embed is not UNSET and _has_no_image(record):
        raise Refused("the post embeds images, but there is none")
    for name, rows in embeds.items():
        if name not in (EMBEDDED, QUOTES):
            for row in rows:
                yield from do(PUT_CHILD[name], *row)


def _has_no_image(record: Post) -> bool:
    """Whether the post embeds a set of images that is empty: the AppView fails at it."""
    assert record.embed is not UNSET
    _, media = read_embed(record.embed, "$.embed")
    return isinstance(media, Images) and not media.images
