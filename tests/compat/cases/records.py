"""Profiles, verifications, record-only collections, replays (14, 15, 42 to 45, 55, 65, 66, 70)."""

from __future__ import annotations

from typing import Final

from tests.compat.casting import PROFILE, Case, Play
from tests.peer.population import GRAPH
from tests.peer.world import Record

STATUS: Final = "app.bsky.actor.status"
CHAT: Final = "chat.bsky.actor.declaration"
LABELER: Final = "app.bsky.labeler.service"
VERIFICATION: Final = f"{GRAPH}verification"
GOOD: Final = {
    "2024-01-01T00:00:00Z": "2024-01-01T00:00:00.000Z",
    "2024-01-01T00:00:00+02:00": "2023-12-31T22:00:00.000Z",
    "2024-01-01T00:00:00.123456789Z": "2024-01-01T00:00:00.123Z",
    "2024-01-01T00:00:00.9996Z": "2024-01-01T00:00:00.999Z",
    "2999-01-01T00:00:00Z": "2999-01-01T00:00:00.000Z",
    "0000-01-01T00:00:00Z": "0000-01-01T00:00:00.000Z",
    "2024-02-31T00:00:00Z": "2024-03-02T00:00:00.000Z",
}
BAD: Final = (
    "2024-01-01T00:00:00", "2024-01-01", "2024-01-01 00:00:00Z", "2024-01-01t00:00:00z",
    "2024-01-01T00:00:00-00:00", "2024-01-01T24:00:00Z", "2024-01-01T00:00:60Z",
    "2024-13-01T00:00:00Z", "", "garbage", "9999-12-31T23:59:59-01:00",
)  # fmt: skip


def first_updates(w: Play) -> None:
    w.put(w.A, STATUS, {"status": "app.bsky.actor.status#live"}, "self", update=True)
    w.put(w.A, CHAT, {"allowIncoming": "all"}, "self", update=True)


def delete_before_create(w: Play) -> None:
    f1 = w.unseen(w.B, "f1", f"{GRAPH}follow")
    w.delete(f1)
    w.follow(w.B, "f1", w.A)


def _profile(w: Play, rkey: str = "self", *, update: bool = False, **more: object) -> None:
    w.put(w.A, PROFILE, {"displayName": "A", **more}, rkey, update=update)


def joined(w: Play) -> None:
    pack = w.unseen(w.B, "s1", f"{GRAPH}starterpack")
    _profile(w, joinedViaStarterPack=pack, pinnedPost=w.post(w.A, "p1"))
    _profile(w, joinedViaStarterPack=pack, pronouns="they", update=True)


def profile_created_at(w: Play) -> None:
    _profile(w, createdAt="2024-01-01T00:00:00+02:00")


def not_self(w: Play) -> None:
    _profile(w, "other")
    w.put(w.A, LABELER, {"policies": {"labelValues": ["x"]}}, "other")
    w.put(w.A, STATUS, {"status": "app.bsky.actor.status#live"}, "other")


def verified(w: Play) -> None:
    said: Record = {"subject": w.B, "handle": "b.test", "displayName": "B"}
    v1 = w.put(w.A, VERIFICATION, said, "v1")
    w.put(w.A, VERIFICATION, said | {"displayName": "Bee"}, "v1", update=True)
    v2 = w.put(w.A, VERIFICATION, said, "v2")
    w.delete(v1)
    w.delete(v2)


def datetimes(w: Play) -> None:
    for n, text in enumerate((*GOOD, *BAD)):
        w.post(w.A, f"p{n:02d}", createdAt=text)


def taken_down(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.statement(f"UPDATE bsky.record SET \"takedownRef\" = 'MOD' WHERE uri = '{p1['uri']}'")
    w.post(w.A, "p1", langs=["en"], update=True)


def taken_down_and_made_again(w: Play) -> None:
    taken_down(w)
    w.delete(w.unseen(w.A, "p1"))
    w.post(w.A, "p1")


def replayed(w: Play) -> None:
    p1, p2 = w.post(w.A, "p1"), w.post(w.A, "p2")
    w.like("l1", p1)
    w.like("l2", p1)
    f1 = w.follow(w.B, "f1", w.A)
    w.delete(f1)
    w.follow(w.B, "f2", w.A)
    w.post(w.A, "p1", langs=["en"], update=True)
    w.delete(p2)
    w.lines += list(w.lines)


def opted_out(w: Play) -> None:
    subject = w.unseen(w.B, "l1", f"{GRAPH}list")["uri"]
    o1, _ = (w.put(w.A, f"{GRAPH}referencelistoptout", {"subject": subject}, rkey)
             for rkey in ("o1", "o2"))  # fmt: skip
    w.delete(o1)


TOLD_OF_BOTH = ["B unverified A/verification/v1", "B unverified A/verification/v1",
                "B unverified A/verification/v2", "B verified A/verification/v1"]  # fmt: skip

RECORDS = [
    Case(14, first_updates, {"record": []},
         {"record": ["A/declaration/self", "A/status/self"]},
         "by default the first update of an unseen record creates it everywhere"),
    Case(15, delete_before_create, {
        "follow": ["B/follow/f1 A"], "accounts": ["A followers=1", "B follows=1"]}),
    Case(42, joined, {
        "told": ["B starterpack-joined A/profile/self B/starterpack/s1"],
        "pinned": ["A/profile/self"]}),
    Case(43, profile_created_at, {"profile": ["A/profile/self A 2024-01-01T00:00:00+02:00"]},
         {"profile": ["A/profile/self A 2023-12-31T22:00:00.000Z"]},
         "by default createdAt has one form everywhere"),
    Case(44, not_self, {
        "profile": [], "labeler": [],
        "record": ["A/profile/other", "A/service/other", "A/status/other"]}),
    Case(45, verified, {"told": TOLD_OF_BOTH, "verification": []}, {"told": []},
         "by default notifications come and go with the row that they are of"),
    Case(55, datetimes, {
        "created": [f"A/post/p{n:02d} {text}" for n, text in enumerate(GOOD.values())],
        "refused": [str(len(GOOD) + n) for n in range(1, len(BAD) + 1)]}),
    Case(65, taken_down, {"record": ["A/post/p1 MOD"]}),
    Case(65, taken_down_and_made_again, {"record": ["A/post/p1"]}, case="b"),
    Case(66, replayed, {
        "post": ['A/post/p1 langs=["en"]'], "feed": ["A/post/p1"],
        "like": ["B/like/l1 A/post/p1"], "follow": ["B/follow/f2 A"],
        "duplicates": ["B/like/l2 B/like/l1"], "counts": ["A/post/p1 like=1"],
        "accounts": ["A followers=1 posts=1", "B follows=1"]}),
    Case(70, opted_out, {"opt-out": [], "duplicates": ["A/referencelistoptout/o2 "
                                                       "A/referencelistoptout/o1"]},
         {"opt-out": ["A/referencelistoptout/o2"], "duplicates": []},
         "by default losers are promoted in every collection"),
]  # fmt: skip
