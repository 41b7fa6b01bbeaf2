"""`app.bsky.feed.post` → `post`: one row per post; what it embeds in tables beside it.

The flags of the table hang on other records: `verdicts` has the rules; and so does whom the post
notifies, in `post_notice`. Where the AppView (0.0.280) loses a post to an accident, this keeps it:

- U+0000 in `text` and `tags`, which Postgres cannot store, becomes U+FFFD.
- An `images` embed without images is as good as none.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from events.event import Event
from projections.lexicon import StrongRef, Typed, check_ref, check_text, invalid, moment
from projections.post_embed import EMBED_TABLES, NO_EMBEDS, embed_cells
from projections.post_notice import NOTICES, Saying, told_of
from projections.richtext import (
    Entity,
    Facet,
    check_facets,
    check_labels,
    check_languages,
    check_tags,
)
from projections.rows import ddl, no_cid, storable
from projections.verdicts import AFTER, JUDGED, MARKS, judge_post
from projector.declare import Child, Projection, Row, Table
from projector.judging import Judged, Judging

TEXT_BYTES_MAX = 3000
TEXT_GRAPHEMES_MAX = 300


class Reply(Typed, gc=False, tag="app.bsky.feed.post#replyRef"):
    """The post replied to, and the first post of its thread."""

    root: StrongRef
    parent: StrongRef


class Post(msgspec.Struct, gc=False):
    """A post."""

    type: Literal["app.bsky.feed.post"] = msgspec.field(name="$type")
    text: str
    createdAt: str
    langs: Annotated[list[str], Meta(max_length=3)] | UnsetType = UNSET
    reply: Reply | UnsetType = UNSET
    facets: list[Facet] | UnsetType = UNSET
    embed: Raw | UnsetType = UNSET
    tags: Annotated[list[str], Meta(max_length=8)] | UnsetType = UNSET
    labels: Raw | UnsetType = UNSET
    entities: list[Entity] | UnsetType = UNSET


def post_row(event: Event, record: Post) -> Row:
    """The row of the table's columns, and the rows of the child tables."""
    text, reply, langs, tags = record.text, record.reply, record.langs, record.tags
    check_text(text, "$.text", TEXT_BYTES_MAX, TEXT_GRAPHEMES_MAX)
    if langs:
        check_languages(langs, "$.langs")
    if tags:
        check_tags(tags, "$.tags")
    mentioned = [] if record.facets is UNSET else check_facets(record.facets, "$.facets")
    if record.labels is not UNSET:
        check_labels(record.labels, "$.labels")
    created_at = moment(record.createdAt)
    return (
        event.uri,
        event.cid or no_cid(),
        event.did,
        storable(text),
        *(_reply_columns(reply) if reply is not UNSET else _NO_REPLY),
        created_at,
        event.indexed_at,
        _json(langs) if langs else None,
        _json(tags) if tags else None,
        *(NO_EMBEDS if record.embed is UNSET else embed_cells(event, record.embed, created_at)),
        tuple([(event.uri, did) for did in mentioned]) or None,
    )


_NO_REPLY = (None, None, None, None)


def _reply_columns(reply: Reply) -> tuple[str, str, str, str]:
    root, parent = reply.root, reply.parent
    check_ref(root, "$.reply.root")
    check_ref(parent, "$.reply.parent")
    if not root.uri.startswith("at://did:"):
        raise invalid("Expected an at-uri with a DID", root.uri, "$.reply.root.uri")
    return root.uri, root.cid, parent.uri, parent.cid


def _json(texts: list[str]) -> str:
    json = msgspec.json.encode(texts).decode()
    if "\\u0000" not in json:
        return json
    return msgspec.json.encode([storable(text) for text in texts]).decode()


def judge(row: Row) -> Judging:
    """The verdict on a row, and its notices."""
    uri, cid, creator, _, root, _, parent, _, *times, _, _ = row[:_WIDTH]
    *_, quotes, mentions = row[_WIDTH:]
    quoted = quotes[0][2] if quotes else None
    flags = yield from judge_post(uri, creator, root, parent, quoted)
    _, violates_gate, violates_rules = flags
    saying = Saying(
        uri=uri,
        creator=creator,
        mentions=[did for _, did in mentions or ()],
        quoted=None if violates_rules else quoted,
        root=root,
        parent=None if violates_gate else parent,
    )
    told = yield from told_of(saying)
    notices = [(uri, did, *why, cid, min(times)) for did, why in told.items()]
    return *flags, tuple(notices) or None


_WIDTH = 12
"""The columns of the table; what posts embed, and mention, comes after them."""

posts = Projection(
    name="post",
    version=5,
    collection="app.bsky.feed.post",
    record=Post,
    row=post_row,
    table=Table(
        "post",
        (
            "uri",
            "cid",
            "creator",
            "text",
            "replyRoot",
            "replyRootCid",
            "replyParent",
            "replyParentCid",
            "createdAt",
            "indexedAt",
            "langs",
            "tags",
        ),
        types={"langs": "jsonb", "tags": "jsonb"},
    ),
    children=(*EMBED_TABLES, Child("post_mention", ("postUri", "did"), hidden=True)),
    judged=Judged(JUDGED, judge, AFTER, MARKS),
    judged_children=(NOTICES,),
    ddl=ddl("post.sql", "post_embed.sql", "quote.sql"),
)
