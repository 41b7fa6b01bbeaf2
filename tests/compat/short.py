"""Tables in a few letters: `B/like/l1 A/post/p1` is B's like of A's post."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tests.compat.casting import Play, Seen
from tests.peer.tables import canonical

Row = Mapping[str, Any]

FLAGS: Final = {
    "invalidReplyRoot": "invalid",
    "violatesThreadGate": "violates",
    "violatesEmbeddingRules": "refused",
    "hasThreadGate": "gated",
    "hasPostGate": "postgated",
}
COUNTS: Final = {
    "likeCount": "like",
    "replyCount": "reply",
    "repostCount": "repost",
    "quoteCount": "quote",
    "followersCount": "followers",
    "followsCount": "follows",
    "postsCount": "posts",
}


def _counts(play: Play, row: Row) -> str | None:
    """Where all are zero it is as if there were no row."""
    told = [f"{short}={row[name]}" for name, short in COUNTS.items() if row.get(name)]
    return " ".join([play.short(row.get("uri") or row.get("did")), *told]) if told else None


def _columns(*names: str) -> Callable[[Play, Row], str | None]:
    """A row as some of its columns; those that are NULL are left out."""

    def tell(play: Play, row: Row) -> str | None:
        return " ".join(play.short(str(row[name])) for name in names if row[name] is not None)

    return tell


def _post(play: Play, row: Row) -> str | None:
    uri = play.short(row["uri"])
    text = [] if uri.endswith("/" + row["text"]) else [repr(row["text"])]
    lists = [
        f"{name}={canonical(row[name])}" for name in ("langs", "tags") if row[name] is not None
    ]
    return " ".join([uri, *text, *lists])


def _flags(play: Play, row: Row) -> str | None:
    told = [f"{short}={int(row[f])}" for f, short in FLAGS.items() if row[f] is not None]
    return " ".join([play.short(row["uri"]), *told]) if told else None


def _self_reply(play: Play, row: Row) -> str | None:
    return play.short(row["uri"]) + (" deleted" if row["deletedAt"] else "")


TABLES: Final[dict[str, tuple[str, Callable[[Play, Row], str | None]]]] = {
    "record": ("record", _columns("uri", "takedownRef")),
    "duplicates": ("duplicate_record", _columns("uri", "duplicateOf")),
    "post": ("post", _post),
    "created": ("post", _columns("uri", "createdAt")),
    "flags": ("post", _flags),
    "feed": ("feed_item", _columns("uri")),
    "items": ("feed_item", _columns("uri", "type", "postUri")),
    "versions": ("feed_item", _columns("uri", "cid")),
    "self replies": ("op_thread_reply", _self_reply),
    "like": ("like", _columns("uri", "subject")),
    "repost": ("repost", _columns("uri", "subject")),
    "quote": ("quote", _columns("uri", "subject")),
    "embedded": ("post_embed_record", _columns("postUri", "embedUri")),
    "images": ("post_embed_image", _columns("postUri", "position")),
    "gallery": ("post_embed_gallery_image", _columns("postUri", "position")),
    "follow": ("follow", _columns("uri", "subjectDid")),
    "profile": ("profile", _columns("uri", "displayName", "createdAt")),
    "pinned": ("profile", _columns("uri", "pinnedPost")),
    "labeler": ("labeler", _columns("uri")),
    "list item": ("list_item", _columns("uri")),
    "starter pack": ("starter_pack", _columns("uri")),
    "verification": ("verification", _columns("uri", "subject", "displayName")),
    "opt-out": ("reference_list_opt_out", _columns("uri")),
    "thread gate": ("thread_gate", _columns("uri")),
    "post gate": ("post_gate", _columns("uri")),
    "accounts": ("profile_agg", _counts),
    "counts": ("post_agg", _counts),
    "told": ("notification", _columns("did", "reason", "recordUri", "reasonSubject")),
    "sync": ("actor_sync", _columns("did", "repoRev")),
    "actor": ("actor", _columns("did", "handle", "upstreamStatus")),
}
"""What a scenario may look at: which table, and how its rows are told."""


def seen(play: Play, tables: Mapping[str, Iterable[Row]], names: Iterable[str]) -> Seen:
    """What of tables a scenario looks at, by its own rows."""
    found: Seen = {}
    for name in names:
        table, tell = TABLES[name]
        rows = (tell(play, row) for row in tables.get(table, []) if play.owns(row))
        found[name] = sorted(row for row in rows if row is not None)
    return found
