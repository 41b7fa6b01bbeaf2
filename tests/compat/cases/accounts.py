"""Accounts: mutes, deletion, status, handles, revisions (46, 58 to 64, 71)."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from tests.compat.casting import PROFILE, WRONG_CID, Case, Play, facets
from tests.peer.population import FEED, GRAPH

NOBODY_TOLD: Final = "by default mutes, which are not in the log, keep nobody from being told"
RESOLVED_ONLY: Final = "by default a handle is what a resolver found, not what is claimed"
ALL_GOES: Final = "by default all rows of a deleted account go, and are counted out"


def thread_muted(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.statement(f"""INSERT INTO bsky.thread_mute ("rootUri", "mutedByDid", "createdAt")
                    VALUES ('{p1["uri"]}', '{w.A}', '2025-03-01T12:00:00.000Z')""")
    w.post(w.B, "r1", reply=p1)
    w.like("l1", p1)
    w.post(w.B, "r2", reply=p1, facets=facets(w.C))


def deleted(w: Play) -> None:
    w.identity(w.A, w.handle("a"))
    of_b = w.post(w.B, "p1")
    w.put(w.A, PROFILE, {"displayName": "A"}, "self")
    w.follow(w.A, "f1", w.B)
    w.follow(w.B, "f1", w.A)
    w.point("like", w.A, "l1", of_b)
    w.point("repost", w.A, "r1", of_b)
    own = w.post(w.A, "p1")
    w.like("l1", own)
    w.post(w.A, "q1", quote=of_b)
    w.post(w.A, "r1", reply=of_b)
    w.post(w.A, "r2", reply=own)
    pack = {"name": "S", "list": w.unseen(w.A, "g1", f"{GRAPH}list")["uri"]}
    w.put(w.A, f"{GRAPH}starterpack", pack, "s1")
    said = {"subject": w.B, "handle": "b.test", "displayName": "B"}
    w.put(w.A, f"{GRAPH}verification", said, "v1")
    w.account(w.A, active=False, status="deleted")


def deleted_and_back(w: Play) -> None:
    deleted(w)
    w.post(w.A, "p1", langs=["en"])


def status_of_the_unknown(w: Play) -> None:
    w.account(w.A, active=False, status="deactivated")


def then_identity(w: Play) -> None:
    status_of_the_unknown(w)
    w.identity(w.A, w.handle("a"))


def odd_statuses(w: Play) -> None:
    w.identity(w.A, w.handle("a"))
    w.account(w.A, active=False, status="deactivated")
    w.account(w.A, active=False, status="throttled")
    w.account(w.A, active=False)


def handle_refreshed(w: Play) -> None:
    w.identity(w.A, "handle.invalid")
    w.pass_time(timedelta(hours=1))
    w.refresh(w.A, w.handle("one"))
    w.identity(w.B, w.handle("two"))
    w.pass_time(timedelta(days=1, milliseconds=1))
    w.refresh(w.B, w.handle("three"))


def handle_taken(w: Play) -> None:
    w.identity(w.A, w.handle("same"))
    w.identity(w.B, w.handle("same"))


def older_revision(w: Play) -> None:
    w.repo(w.A, "3k2aaaaaaaaa2", WRONG_CID)
    w.repo(w.A, "3k1aaaaaaaaa2", WRONG_CID)


def root_by_handle(w: Play) -> None:
    root = {"uri": f"at://a.test/{FEED}post/p1", "cid": WRONG_CID}
    w.post(w.B, "r1", reply=(root, w.post(w.A, "p1")))


GONE_COUNTS = ["A/post/p1 like=1 reply=1", "B/post/p1 like=1 reply=1 repost=1 quote=1"]

ACCOUNTS = [
    Case(46, thread_muted, {
        "post": ["A/post/p1", "B/post/r2"], "like": [], "record": ["A/post/p1", "B/post/r2"],
        "told": ["C mention B/post/r2"], "refused": ["2", "3"]},
        {"post": ["A/post/p1", "B/post/r1", "B/post/r2"], "like": ["B/like/l1 A/post/p1"],
         "record": ["A/post/p1", "B/like/l1", "B/post/r1", "B/post/r2"], "refused": [],
         "told": ["A like B/like/l1 A/post/p1", "A reply B/post/r1 A/post/p1",
                  "A reply B/post/r2 A/post/p1", "C mention B/post/r2"]},
        NOBODY_TOLD),
    Case(58, deleted, {
        "post": ["B/post/p1"], "like": ["B/like/l1 A/post/p1"], "repost": [], "profile": [],
        "follow": ["B/follow/f1 A"], "record": ["B/follow/f1", "B/like/l1", "B/post/p1"],
        "feed": ["A/post/p1", "A/post/q1", "A/post/r1", "A/post/r2", "A/repost/r1", "B/post/p1"],
        "quote": ["A/post/q1 B/post/p1"], "embedded": [], "starter pack": ["A/starterpack/s1"],
        "verification": ["A/verification/v1 B B"], "self replies": ["A/post/r2"],
        "counts": GONE_COUNTS, "told": [], "actor": [],
        "accounts": ["A followers=1 follows=1 posts=4", "B followers=1 follows=1 posts=1"]},
        {"feed": ["B/post/p1"], "quote": [], "starter pack": [], "verification": [],
         "self replies": [], "counts": ["A/post/p1 like=1"],
         "told": ["A follow B/follow/f1", "A like B/like/l1 A/post/p1"],
         "accounts": ["A followers=1", "B follows=1 posts=1"]}, ALL_GOES),
    Case(59, deleted_and_back, {
        "post": ['A/post/p1 langs=["en"]', "B/post/p1"],
        "versions": ["A/post/p1 v1", "A/post/q1 v1", "A/post/r1 v1", "A/post/r2 v1",
                     "A/repost/r1 v1", "B/post/p1 v1"]},
        {"versions": ["A/post/p1 v2", "B/post/p1 v1"]}, ALL_GOES),
    Case(60, status_of_the_unknown, {"actor": []},
         {"actor": ["A deactivated"]}, "by default a status is kept of an unknown account, too"),
    Case(60, then_identity, {"actor": ["A a"]}, {"actor": ["A deactivated"]},
         f"the same; {RESOLVED_ONLY}", case="b"),
    Case(61, odd_statuses, {"actor": ["A a deactivated"], "refused": ["4"]},
         {"actor": ["A deactivated"], "refused": []},
         f"by default what tells nothing is no error; {RESOLVED_ONLY}"),
    Case(62, handle_refreshed, {"actor": ["A", "B three"]}, {"actor": ["A one", "B three"]},
         "by default what a resolver found counts, however soon it asked again"),
    Case(63, handle_taken, {"actor": ["A", "B same"]}, {"actor": ["A", "B"]}, RESOLVED_ONLY),
    Case(64, older_revision, {"sync": ["A 3k1aaaaaaaaa2"]},
         {"sync": ["A 3k2aaaaaaaaa2"]}, "by default a repo's revision never goes back"),
    Case(71, root_by_handle, {"post": ["A/post/p1"], "refused": ["2"]}),
]  # fmt: skip
