"""Posts with what they embed, and what happens to those that point at them (12, 13, 17 to 21, 39 to
41, 47, 50 to 54, 56, 57)."""

from __future__ import annotations

from typing import Final

from tests.compat.casting import EMBED, Case, Play, facets
from tests.peer.population import FEED
from tests.peer.world import Record

KEPT_POINTERS: Final = "by default others' reposts in feeds, and quotes, outlive what they point at"
BY_URI: Final = "by default quotes are counted by the uri of what they quote"
NOTHING_LOST: Final = "by default a record is kept where Postgres would refuse a part of it"


def created_twice(w: Play) -> None:
    w.post(w.A, "p1", text="one")
    w.post(w.A, "p1", text="two")


def updated_unseen(w: Play) -> None:
    w.post(w.A, "p1", update=True)


def with_engagement(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.point("repost", w.B, "r1", p1)
    w.post(w.C, "q1", quote=p1)
    w.post(w.B, "y1", reply=p1)
    w.like("l1", p1)
    w.delete(p1)


def with_engagement_less_quote(w: Play) -> None:
    with_engagement(w)
    w.delete(w.unseen(w.C, "q1"))


def edited(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.point("repost", w.B, "r1", p1)
    w.post(w.C, "q1", quote=p1)
    w.thread_gate(p1)
    w.post_gate(p1)
    w.post(w.A, "p1", langs=["en"], update=True)


def edited_and_quoted_again(w: Play) -> None:
    edited(w)
    anew = w.post(w.A, "p1", langs=["en", "de"], update=True)
    w.post(w.D, "q2", quote=anew)
    w.delete(w.unseen(w.C, "q1"))


def same_content(w: Play) -> None:
    at = w.created()
    first, second = (w.post(who, "p1", createdAt=at) for who in (w.A, w.B))
    assert first["cid"] == second["cid"]
    w.post(w.C, "q1", quote=first)
    w.post(w.C, "q2", quote=second)


def quote_moves(w: Play) -> None:
    p1, p2 = w.post(w.A, "p1"), w.post(w.A, "p2")
    w.post(w.B, "q1", quote=p1)
    w.post(w.B, "q1", quote=p2, update=True)


def quote_moves_and_goes(w: Play) -> None:
    quote_moves(w)
    w.post(w.B, "q1", update=True)


def never_indexed(w: Play) -> None:
    p1 = w.unseen(w.A, "p1")
    w.point("repost", w.B, "r1", p1)
    w.post(w.C, "q1", quote=p1)
    w.delete(p1)


def feed_generator(w: Play) -> None:
    feed = w.put(w.A, f"{FEED}generator", {"did": w.A, "displayName": "F"}, "g1")
    w.like("l1", feed)
    w.point("repost", w.B, "r1", feed)
    w.post(w.C, "q1", quote=feed)


def told_once(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.post(w.B, "r1", reply=p1, quote=p1, facets=facets(w.A, w.A, w.B, w.C))


def _image(w: Play, **more: object) -> Record:
    return {"image": w.blob("image/png"), "alt": "", **more}


def no_image(w: Play) -> None:
    w.post(w.A, "p1", embed={"$type": f"{EMBED}images", "images": []})


def gallery(w: Play) -> None:
    image = _image(w, aspectRatio={"width": 1, "height": 1})
    known = {"$type": f"{EMBED}gallery#image", **image}
    items = [known, {"$type": "com.example.unknown"}, known]
    w.post(w.A, "p1", embed={"$type": f"{EMBED}gallery", "items": items})


def unknown_media(w: Play) -> None:
    record = {"record": w.post(w.A, "p1")}
    embed = {"$type": f"{EMBED}recordWithMedia", "record": record,
             "media": {"$type": "com.example.unknown"}}  # fmt: skip
    w.post(w.B, "q1", embed=embed)


def lists(w: Play) -> None:
    w.post(w.A, "p1", langs=["en_US"])
    w.post(w.A, "p2", langs=[])
    w.post(w.A, "p3", tags=[])
    w.post(w.A, "p4", tags=list("abcdefghi"))


def bad_blobs(w: Play) -> None:
    good = w.blob("image/png")
    dag_cbor = {"$link": good["ref"]["$link"].replace("bafkrei", "bafyrei")}
    blobs: list[Record] = [
        {"cid": good["ref"]["$link"], "mimeType": "image/png"},
        good | {"size": 2_000_001},
        good | {"ref": dag_cbor},
        good | {"mimeType": "video/mp4"},
        good,
    ]
    for n, blob in enumerate(blobs):
        images = [{"image": blob, "alt": ""}]
        w.post(w.A, f"p{n}", embed={"$type": f"{EMBED}images", "images": images})


def nul(w: Play) -> None:
    w.post(w.A, "p1", text="a\0b")
    w.post(w.A, "p2", unknown="a\0b")
    w.post(w.A, "p3", tags=["a\0b"])


def bad_update(w: Play) -> None:
    w.post(w.A, "p1")
    w.post(w.A, "p1", text=5, update=True)


ENGAGED = "A/post/p1 like=1 reply=1 repost=1 quote=1"
GATES_THERE = {"thread gate": ["A/threadgate/p1"], "post gate": ["A/postgate/p1"]}

POSTS = [
    Case(12, created_twice, {"post": ["A/post/p1 'one'"], "accounts": ["A posts=1"]},
         {"post": ["A/post/p1 'two'"]}, "by default a create replaces what is there"),
    Case(13, updated_unseen, {
        "post": ["A/post/p1"], "record": ["A/post/p1"], "feed": ["A/post/p1"],
        "accounts": ["A posts=1"]}),
    Case(17, with_engagement, {
        "feed": ["B/post/y1", "C/post/q1"], "quote": [], "repost": ["B/repost/r1 A/post/p1"],
        "like": ["B/like/l1 A/post/p1"], "post": ["B/post/y1", "C/post/q1"],
        "embedded": ["C/post/q1 A/post/p1"], "counts": [ENGAGED],
        "accounts": ["B posts=1", "C posts=1"]},
        {"feed": ["B/post/y1", "B/repost/r1", "C/post/q1"], "quote": ["C/post/q1 A/post/p1"]},
        KEPT_POINTERS),
    Case(18, with_engagement_less_quote, {
        "counts": ["A/post/p1 like=1 reply=1 repost=1"], "quote": [],
        "told": ["A like B/like/l1 A/post/p1", "A reply B/post/y1 A/post/p1",
                 "A repost B/repost/r1 A/post/p1"]}),
    Case(19, edited, {
        "flags": [], **GATES_THERE, "feed": ["A/post/p1", "C/post/q1"], "quote": [],
        "counts": ["A/post/p1 repost=1 quote=1"]},
        {"flags": ["A/post/p1 gated=1 postgated=1"],
         "feed": ["A/post/p1", "B/repost/r1", "C/post/q1"], "quote": ["C/post/q1 A/post/p1"]},
        KEPT_POINTERS),
    Case(20, edited_and_quoted_again, {
        "flags": ["D/post/q2 refused=1"], "quote": ["D/post/q2 A/post/p1"],
        "counts": ["A/post/p1 repost=1"]},
        {"flags": ["A/post/p1 gated=1 postgated=1", "D/post/q2 refused=1"],
         "counts": ["A/post/p1 repost=1 quote=1"]}, BY_URI),
    Case(21, same_content, {"counts": ["A/post/p1 quote=1", "B/post/p1 quote=2"]},
         {"counts": ["A/post/p1 quote=1", "B/post/p1 quote=1"]}, BY_URI),
    Case(39, quote_moves, {
        "counts": ["A/post/p2 quote=1"], "quote": ["B/post/q1 A/post/p2"],
        "told": ["A quote B/post/q1 A/post/p2"]}),
    Case(39, quote_moves_and_goes, {"counts": [], "quote": [], "told": []}, case="b"),
    Case(40, never_indexed, {
        "feed": ["C/post/q1"], "quote": [], "counts": ["A/post/p1 repost=1 quote=1"]},
        {"feed": ["B/repost/r1", "C/post/q1"], "quote": ["C/post/q1 A/post/p1"]}, KEPT_POINTERS),
    Case(41, feed_generator, {
        "counts": ["A/generator/g1 like=1 repost=1"], "quote": [],
        "items": ["B/repost/r1 repost A/generator/g1", "C/post/q1 post C/post/q1"],
        "embedded": ["C/post/q1 A/generator/g1"]}),
    Case(47, told_once, {"told": ["A mention B/post/r1", "C mention B/post/r1"]}),
    Case(50, no_image, {"post": [], "record": [], "refused": ["1"]},
         {"post": ["A/post/p1"], "record": ["A/post/p1"], "refused": []}, NOTHING_LOST),
    Case(51, gallery, {"gallery": ["A/post/p1 0", "A/post/p1 2"]}),
    Case(52, unknown_media, {
        "quote": ["B/post/q1 A/post/p1"], "embedded": ["B/post/q1 A/post/p1"], "images": []}),
    Case(53, lists, {"post": ["A/post/p2", "A/post/p3"], "refused": ["1", "4"]}),
    Case(54, bad_blobs, {"post": ["A/post/p4"], "refused": ["1", "2", "3", "4"]}),
    Case(56, nul, {"post": ["A/post/p2"], "refused": ["1", "3"]},
         {"post": ["A/post/p1 'a\ufffdb'", "A/post/p2", 'A/post/p3 tags=["a\ufffdb"]'],
          "refused": []}, NOTHING_LOST),
    Case(57, bad_update, {"post": ["A/post/p1"], "record": ["A/post/p1"], "refused": ["2"]}),
]  # fmt: skip
