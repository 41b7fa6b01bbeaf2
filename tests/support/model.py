"""A naive model of what the tables must hold: dicts and loops, nothing of the code under test.

It eats events one at a time, in the order of the log:

- Per record key, of the valid events the one with the highest rev decides. Revs are 13-character
  TIDs and compare as text; an event whose rev is missing or odd is always applied. An event with a
  rev not above the one known of its key is a repeat and changes nothing.
- A create of a live key with the same content (all columns but `indexedAt`) changes nothing; with
  other content it replaces, as an update does. An update of an unseen key creates.
- A delete removes. An invalid record is a dead letter, and what was there stays.
- An account deletion, or a repo reset, removes all rows of the account in all tables and forgets
  its revs: later events of it apply anew.
- Of live records with the same claim (follow: creator and subjectDid; like, repost: creator and
  subject) the one with the smallest (indexedAt, uri) has the row. The others are in
  `duplicate_record`, with the winner's uri as `duplicateOf` and their own cid and indexedAt.
- U+0000 in text and tags, and surrogates that have no partner, become U+FFFD.
- A post's embeds have their rows as long as the post has its own.
- Aggregates count rows. A key of which all counts are zero has no row.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from events.event import Event

Row = dict[str, Any]
Tables = dict[str, list[Row]]

CLAIMS = {
    "app.bsky.graph.follow": ("creator", "subjectDid"),
    "app.bsky.feed.like": ("creator", "subject"),
    "app.bsky.feed.repost": ("creator", "subject"),
    "app.bsky.feed.post": ("uri",),
}
TABLES = {collection: collection.rpartition(".")[2] for collection in CLAIMS}
COUNTS = {
    "profile_agg": (
        "did",
        {
            "followersCount": ("follow", "subjectDid"),
            "followsCount": ("follow", "creator"),
            "postsCount": ("post", "creator"),
        },
    ),
    "post_agg": (
        "uri",
        {
            "likeCount": ("like", "subject"),
            "replyCount": ("post", "replyParent"),
            "repostCount": ("repost", "subject"),
            "quoteCount": ("quote", "subject"),
            "bookmarkCount": ("", ""),
        },
    ),
}
EMBEDS = ("post_embed_image", "post_embed_external", "post_embed_record", "post_embed_video",
          "post_embed_gallery_image", "quote")  # fmt: skip
UNSTORABLE = re.compile("[\0\ud800-\udfff]")
FLAGS = ("invalidReplyRoot", "violatesThreadGate", "violatesEmbeddingRules", "hasThreadGate",
         "hasPostGate")  # fmt: skip


class Model:
    """The live records, the rev each key is at, and the offsets of the invalid."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.live: dict[str, dict[str, Row]] = {collection: {} for collection in CLAIMS}
        self.revs: dict[str, str] = {}
        self.letters: set[tuple[str, int]] = set()
        for event in events:
            self.eat(event)

    def eat(self, event: Event) -> None:
        """Takes the next event of the log."""
        if (event.kind, event.action) in (("account", "deleted"), ("sync", "reset")):
            self._remove(event.did)
        elif event.kind == "commit" and event.collection in CLAIMS:
            self._commit(event, self.live[event.collection])

    def _remove(self, did: str) -> None:
        for rows in self.live.values():
            for uri in [uri for uri, row in rows.items() if row["creator"] == did]:
                del rows[uri]
        self.revs = {u: rev for u, rev in self.revs.items() if not u.startswith(f"at://{did}/")}

    def _commit(self, event: Event, rows: dict[str, Row]) -> None:
        uri = f"at://{event.did}/{event.collection}/{event.rkey}"
        rev = event.rev if event.rev is not None and len(event.rev) == 13 else None
        row = None if event.action == "delete" else row_of(event, uri)
        if event.action != "delete" and row is None:
            self.letters.add((TABLES[event.collection or ""], event.log_offset))
            return
        if rev is not None and uri in self.revs and rev <= self.revs[uri]:
            return
        if event.action == "create" and uri in rows and same(rows[uri], row):
            return
        if row is None:
            rows.pop(uri, None)
        else:
            rows[uri] = row
        if rev is not None:
            self.revs[uri] = rev

    def tables(self) -> Tables:
        """The tables, each a list of rows in the order of the key."""
        tables: Tables = {"duplicate_record": []}
        for collection, claim in CLAIMS.items():
            groups = defaultdict(list)
            for row in self.live[collection].values():
                groups[tuple(row[column] for column in claim)].append(row)
            first = [min(rows, key=lambda row: (row["indexedAt"], row["uri"]))
                     for rows in groups.values()]  # fmt: skip
            tables[TABLES[collection]] = first
            for winner, rows in zip(first, groups.values(), strict=True):
                tables["duplicate_record"] += [
                    {"uri": row["uri"], "cid": row["cid"], "duplicateOf": winner["uri"],
                     "indexedAt": row["indexedAt"]}
                    for row in rows if row is not winner
                ]  # fmt: skip
        for name in EMBEDS:
            tables[name] = [row for post in tables["post"] for row in post["embeds"].get(name, [])]
        tables["post"] = [{c: v for c, v in row.items() if c != "embeds"} for row in tables["post"]]
        for name, (key, counters) in COUNTS.items():
            tables[name] = counted(tables, key, counters)
        return {
            name: sorted(
                rows, key=lambda row: str(row.get("uri") or row.get("postUri") or row["did"])
            )
            for name, rows in tables.items()
        }


def counted(tables: Tables, key: str, counters: dict[str, tuple[str, str]]) -> list[Row]:
    """The rows of an aggregate: for every value of a counted column how many rows have it."""
    counts = {
        counter: Counter(row[by] for row in tables.get(table, []) if row[by] is not None)
        for counter, (table, by) in counters.items()
    }
    keys = sorted({value for counter in counts.values() for value in counter})
    return [{key: value} | {name: counts[name][value] for name in counters} for value in keys]


def same(row: Row, other: Row | None) -> bool:
    """Whether two rows say the same, whenever it was said."""
    leave = ("indexedAt", "sortAt", "embeds")
    return other is not None and all(row[c] == other[c] for c in row if c not in leave)


def embeds_of(post: Row, embed: Any) -> Tables:
    """The rows of what a post embeds, of the kinds that `tests.support.histories` makes."""
    uri, inner = post["uri"], embed.get("record", {})
    ref, images = inner.get("record", inner), embed.get("media", embed).get("images", [])
    quote = {c: post[c] for c in ("uri", "cid", "createdAt", "indexedAt", "sortAt")}
    return {
        "post_embed_image": [
            {"postUri": uri, "position": str(at), "imageCid": image["image"]["ref"]["$link"],
             "alt": UNSTORABLE.sub("\ufffd", image["alt"])} for at, image in enumerate(images)],
        "post_embed_record":
            [{"postUri": uri, "embedUri": ref["uri"], "embedCid": ref["cid"]}] if ref else [],
        "quote": [quote | {"subject": ref["uri"], "subjectCid": ref["cid"]}] if ref else [],
    }  # fmt: skip


def row_of(event: Event, uri: str) -> Row | None:
    """The row of a record as `tests.support.histories` makes them; None if it is invalid."""
    record = json.loads(event.record or b"null")
    created_at = record.get("createdAt")
    if not isinstance(created_at, str):
        return None
    indexed_at = event.occurred_at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    row = {"uri": uri, "cid": event.cid, "creator": event.did, "createdAt": created_at,
           "indexedAt": indexed_at, "sortAt": min(created_at, indexed_at)}  # fmt: skip
    subject = record.get("subject")
    if event.collection == "app.bsky.graph.follow":
        return row | {"subjectDid": subject}
    if event.collection != "app.bsky.feed.post":
        via = record.get("via", {})
        return row | {"subject": subject["uri"], "subjectCid": subject["cid"],
                      "via": via.get("uri"), "viaCid": via.get("cid")}  # fmt: skip
    reply = record.get("reply", {"root": {}, "parent": {}})
    lists = {c: json.dumps(record[c]).replace(r"\u0000", r"\ufffd") if record.get(c) else None
             for c in ("langs", "tags")}  # fmt: skip
    return row | lists | dict.fromkeys(FLAGS) | {
        "embeds": embeds_of(row, record.get("embed", {})),
        "text": UNSTORABLE.sub("\ufffd", record["text"]),
        "replyRoot": reply["root"].get("uri"),
        "replyRootCid": reply["root"].get("cid"),
        "replyParent": reply["parent"].get("uri"),
        "replyParentCid": reply["parent"].get("cid"),
    }  # fmt: skip
