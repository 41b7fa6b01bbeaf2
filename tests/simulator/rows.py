"""The rows that a record makes, by the rules of the AppView's dataplane.

Naive on purpose, and owing nothing to the code under test.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tests.simulator.facts import (
    BLOCK,
    FEED,
    FOLLOW,
    ITEM,
    LABELER,
    LIKE,
    LIST,
    LIST_BLOCK,
    OPT_OUT,
    PACK,
    POST,
    POST_GATE,
    PROFILE,
    REPOST,
    THREAD_GATE,
    VERIFICATION,
    Fact,
    moment,
)

Row = dict[str, Any]
Rows = dict[str, list[Row]]

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
EMBEDS = ("post_embed_image", "post_embed_external", "post_embed_record", "post_embed_video",
          "post_embed_gallery_image", "quote")  # fmt: skip
DESCRIBED = dict.fromkeys(("description", "descriptionFacets", "avatarCid"))


def storable(text: str) -> str:
    return UNSTORABLE.sub("\ufffd", text)


def owner(uri: str) -> str:
    return uri.split("/")[2]


def texts(of: list[str] | None) -> str | None:
    return of and storable(json.dumps(of, ensure_ascii=False).replace("\\u0000", "\0"))


def pointer(record: Row) -> Row:
    """Of a like or repost."""
    subject, via = record["subject"], record.get("via", {})
    return {"subject": subject["uri"], "subjectCid": subject["cid"],
            "via": via.get("uri"), "viaCid": via.get("cid")}  # fmt: skip


def post(record: Row) -> Row:
    reply = record.get("reply", {"root": {}, "parent": {}})
    return {
        "text": storable(record["text"]),
        "replyRoot": reply["root"].get("uri"), "replyRootCid": reply["root"].get("cid"),
        "replyParent": reply["parent"].get("uri"), "replyParentCid": reply["parent"].get("cid"),
        "langs": texts(record.get("langs")), "tags": texts(record.get("tags")),
    }  # fmt: skip


def profile(record: Row) -> Row:
    return {
        "displayName": storable(record["displayName"]), "description": None,
        "avatarCid": record.get("avatar", {}).get("ref", {}).get("$link"), "bannerCid": None,
        "joinedViaStarterPackUri": record.get("joinedViaStarterPack", {}).get("uri"),
        "pinnedPost": None, "pinnedPostCid": None,
    }  # fmt: skip


OWN: dict[str, Callable[[Row], Row]] = {
    FOLLOW: lambda r: {"subjectDid": r["subject"]},
    BLOCK: lambda r: {"subjectDid": r["subject"]},
    LIKE: pointer,
    REPOST: pointer,
    POST: post,
    PROFILE: profile,
    LIST: lambda r: DESCRIBED | {"name": storable(r["name"]), "purpose": r["purpose"]},
    ITEM: lambda r: {"subjectDid": r["subject"], "listUri": r["list"]},
    LIST_BLOCK: lambda r: {"subjectUri": r["subject"]},
    OPT_OUT: lambda r: {"subjectUri": r["subject"]},
    FEED: lambda r: DESCRIBED | {"feedDid": r["did"], "displayName": storable(r["displayName"])},
    PACK: lambda r: {"name": storable(r["name"])},
    LABELER: lambda r: {},
    THREAD_GATE: lambda r: {"postUri": r["post"]},
    POST_GATE: lambda r: {"postUri": r["post"]},
    VERIFICATION: lambda r: {"subject": r["subject"], "handle": r["handle"],
                             "displayName": storable(r["displayName"])},
}  # fmt: skip
"""By collection, the columns that no other has."""


def row_of(fact: Fact) -> Row | None:
    """The row of a valid record in the table of its collection; None where it has none."""
    if fact.collection not in OWN or (
        fact.collection in (PROFILE, LABELER) and fact.rkey != "self"
    ):
        return None
    record, indexed_at = fact.record, moment(fact.time_us)
    created_at = record["createdAt"]
    row: Row = {"uri": fact.uri, "cid": fact.cid, "creator": fact.did, "createdAt": created_at,
                "indexedAt": indexed_at}  # fmt: skip
    sort_at = {} if fact.collection in (PROFILE, THREAD_GATE, POST_GATE) else {
        "sortedAt" if fact.collection == VERIFICATION else "sortAt": min(created_at, indexed_at)
    }  # fmt: skip
    rkey = {"rkey": fact.rkey} if fact.collection == VERIFICATION else {}
    return row | sort_at | rkey | OWN[fact.collection](record)


def record_row(fact: Fact) -> Row:
    """Its row in `record`: the JSON as it came, but for surrogates that have no partner."""
    text = fact.text.replace("\\ud800", "\\ufffd")
    return {"uri": fact.uri, "cid": fact.cid, "did": fact.did, "json": text,
            "indexedAt": moment(fact.time_us), "takedownRef": None, "tags": None}  # fmt: skip


def embeds(fact: Fact, row: Row) -> Rows:
    """The rows of what a post embeds."""
    embed = fact.record.get("embed", {})
    inner = embed.get("record", {})
    ref, media = inner.get("record", inner), embed.get("media", embed)
    uri, video = fact.uri, media.get("video")
    quote = {name: row[name] for name in ("uri", "cid", "createdAt", "indexedAt", "sortAt")}
    pointed = {"subject": ref["uri"], "subjectCid": ref["cid"]} if ref else {}
    page = media.get("external")
    return {
        "post_embed_image": _images(uri, media.get("images", [])),
        "post_embed_gallery_image": _images(uri, media.get("items", [])),
        "post_embed_external": [{"postUri": uri, "uri": page["uri"], "thumbCid": None,
                                 "title": storable(page["title"]),
                                 "description": page["description"]}] if page else [],
        "post_embed_video": [{"postUri": uri, "videoCid": video["ref"]["$link"], "alt": None}]
        if video else [],
        "post_embed_record":
            [{"postUri": uri, "embedUri": ref["uri"], "embedCid": ref["cid"]}] if ref else [],
        "quote": [quote | pointed] if ref and f"/{POST}/" in ref["uri"] else [],
    }  # fmt: skip


def _images(uri: str, images: list[Row]) -> list[Row]:
    return [{"postUri": uri, "position": str(at), "imageCid": image["image"]["ref"]["$link"],
             "alt": storable(image["alt"])} for at, image in enumerate(images)]  # fmt: skip


def feed_item(kind: str, row: Row) -> Row:
    """That of a post or repost."""
    return {"uri": row["uri"], "cid": row["cid"], "type": kind, "originatorDid": row["creator"],
            "postUri": row["uri"] if kind == "post" else row["subject"],
            "sortAt": row["sortAt"]}  # fmt: skip


# Whom rows notify.


def told(
    row: Row, reason: str, to: str, subject: str | None = None, sort_at: str = "sortAt"
) -> Row:
    return {"did": to, "recordUri": row["uri"], "recordCid": row["cid"], "author": row["creator"],
            "reason": reason, "reasonSubject": subject, "sortAt": row[sort_at]}  # fmt: skip


def of_pointer(reason: str) -> Callable[[Row], Iterable[Row]]:
    def notified(row: Row) -> Iterable[Row]:
        if owner(row["subject"]) != row["creator"]:
            yield told(row, reason, owner(row["subject"]), row["subject"])
            if row["via"] and owner(row["via"]) != row["creator"]:
                yield told(row, f"{reason}-via-repost", owner(row["via"]), row["via"])

    return notified


def of_profile(row: Row) -> Iterable[Row]:
    if pack := row["joinedViaStarterPackUri"]:
        yield told(row, "starterpack-joined", owner(pack), pack, "indexedAt")


NOTIFIED: Mapping[str, Callable[[Row], Iterable[Row]]] = {
    "like": of_pointer("like"),
    "repost": of_pointer("repost"),
    "follow": lambda row: [told(row, "follow", row["subjectDid"])],
    "verification": lambda row: [told(row, "verified", row["subject"], None, "sortedAt")],
    "profile": of_profile,
}
"""By table, the notifications of a row of it."""
