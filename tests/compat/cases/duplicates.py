"""Records with the same claim: likes, reposts, follows (1 to 11, 16, 67)."""

from __future__ import annotations

from typing import Final

from tests.compat.casting import Case, Play

PROMOTED: Final = "by default losers are promoted as long as one is left, and named with the holder"
MOVED: Final = "by default who leaves a claim by an update leaves it to the next"
TOLD_OF_ROWS: Final = "by default notifications come and go with the row that they are of"
FIRST: Final = "by default the smallest (indexedAt, uri) holds a claim"


def like_thrice(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    for rkey in ("l1", "l2", "l3"):
        w.like(rkey, p1)


def unlike(w: Play, *rkeys: str) -> None:
    for rkey in rkeys:
        w.delete(w.unseen(w.B, rkey, "app.bsky.feed.like"))


def like_thrice_less_one(w: Play) -> None:
    like_thrice(w)
    unlike(w, "l1")


def like_thrice_less_two(w: Play) -> None:
    like_thrice(w)
    unlike(w, "l1", "l2")


def like_thrice_less_three(w: Play) -> None:
    like_thrice(w)
    unlike(w, "l1", "l2", "l3")


def loser_goes_first(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.like("l1", p1)
    w.like("l2", p1)
    unlike(w, "l2", "l1")


def winner_moves(w: Play) -> None:
    p1, p2 = w.post(w.A, "p1"), w.post(w.A, "p2")
    w.like("l1", p1)
    w.like("l2", p1)
    w.like("l1", p2, update=True)


def winner_moves_and_goes(w: Play) -> None:
    winner_moves(w)
    unlike(w, "l1")


def winner_moves_onto_another(w: Play) -> None:
    p1, p2 = w.post(w.A, "p1"), w.post(w.A, "p2")
    w.like("l1", p1)
    w.like("l2", p2)
    w.like("l1", p2, update=True)


def loser_moves(w: Play) -> None:
    p1, p3 = w.post(w.A, "p1"), w.post(w.A, "p3")
    w.like("l1", p1)
    w.like("l2", p1)
    w.like("l2", p3, update=True)


def follow_at(w: Play, rkey: str, second: int, *, update: bool = False) -> None:
    w.set_second(second)
    w.follow(w.B, rkey, w.A, update=update)


def unfollow(w: Play, rkey: str) -> None:
    w.delete(w.unseen(w.B, rkey, "app.bsky.graph.follow"))


def smallest_is_promoted(w: Play) -> None:
    for rkey, second in (("f1", 5), ("f2", 7), ("f3", 6)):
        follow_at(w, rkey, second)
    w.set_second(9)
    unfollow(w, "f1")


def updated_loser_waits_longer(w: Play) -> None:
    for rkey, second in (("f1", 5), ("f2", 6), ("f3", 7)):
        follow_at(w, rkey, second)
    follow_at(w, "f2", 8, update=True)
    unfollow(w, "f1")


def repost_twice(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.point("repost", w.B, "r3", p1)
    w.point("repost", w.B, "r4", p1)


def repost_twice_less_loser(w: Play) -> None:
    repost_twice(w)
    w.delete(w.unseen(w.B, "r4", "app.bsky.feed.repost"))


def sixty_follow(w: Play) -> None:
    for n in range(60):
        w.follow(
            f"did:plc:{'a' * 18}{w.A[-3:]}{'abcdefghij'[n % 10]}{'klmnop'[n // 10]}z", "f", w.A
        )


LIKED_BY_L1 = "A like B/like/l1 A/post/p1"
P1_ONCE = ["A/post/p1 like=1"]

DUPLICATES = [
    Case(1, like_thrice, {
        "like": ["B/like/l1 A/post/p1"],
        "duplicates": ["B/like/l2 B/like/l1", "B/like/l3 B/like/l1"],
        "record": ["A/post/p1", "B/like/l1", "B/like/l2", "B/like/l3"],
        "counts": P1_ONCE, "told": [LIKED_BY_L1]}),
    Case(2, like_thrice_less_one, {
        "like": ["B/like/l2 A/post/p1"],
        "duplicates": ["B/like/l2 B/like/l1", "B/like/l3 B/like/l1"],
        "counts": P1_ONCE, "told": [LIKED_BY_L1]},
        {"duplicates": ["B/like/l3 B/like/l2"], "told": ["A like B/like/l2 A/post/p1"]}, PROMOTED),
    Case(3, like_thrice_less_two, {
        "like": [], "duplicates": ["B/like/l3 B/like/l1"],
        "record": ["A/post/p1", "B/like/l3"], "counts": []},
        {"like": ["B/like/l3 A/post/p1"], "duplicates": [], "counts": P1_ONCE}, PROMOTED),
    Case(4, like_thrice_less_three, {
        "like": [], "duplicates": [], "counts": [], "told": [LIKED_BY_L1]},
        {"told": []}, TOLD_OF_ROWS),
    Case(5, loser_goes_first, {
        "like": [], "duplicates": [], "record": ["A/post/p1"], "counts": [], "told": []}),
    Case(6, winner_moves, {
        "like": ["B/like/l1 A/post/p2"], "duplicates": ["B/like/l2 B/like/l1"],
        "counts": ["A/post/p2 like=1"], "told": [LIKED_BY_L1]},
        {"like": ["B/like/l1 A/post/p2", "B/like/l2 A/post/p1"], "duplicates": [],
         "counts": ["A/post/p1 like=1", "A/post/p2 like=1"],
         "told": ["A like B/like/l1 A/post/p2", "A like B/like/l2 A/post/p1"]}, MOVED),
    Case(7, winner_moves_and_goes, {
        "like": ["B/like/l2 A/post/p1"], "duplicates": ["B/like/l2 B/like/l1"],
        "counts": P1_ONCE},
        {"duplicates": []}, PROMOTED),
    Case(8, winner_moves_onto_another, {
        "like": ["B/like/l1 A/post/p1", "B/like/l2 A/post/p2"], "duplicates": [],
        "counts": ["A/post/p1 like=1", "A/post/p2 like=1"], "refused": ["5"]},
        {"like": ["B/like/l2 A/post/p2"], "duplicates": ["B/like/l1 B/like/l2"],
         "counts": ["A/post/p2 like=1"], "refused": []}, FIRST),
    Case(9, loser_moves, {
        "like": ["B/like/l1 A/post/p1", "B/like/l2 A/post/p3"], "duplicates": [],
        "told": [LIKED_BY_L1, "A like B/like/l2 A/post/p3"]}),
    Case(10, smallest_is_promoted, {
        "follow": ["B/follow/f3 A"],
        "duplicates": ["B/follow/f2 B/follow/f1", "B/follow/f3 B/follow/f1"]},
        {"duplicates": ["B/follow/f2 B/follow/f3"]}, PROMOTED),
    Case(11, updated_loser_waits_longer, {
        "follow": ["B/follow/f3 A"],
        "duplicates": ["B/follow/f2 B/follow/f1", "B/follow/f3 B/follow/f1"]},
        {"duplicates": ["B/follow/f2 B/follow/f3"]}, PROMOTED),
    Case(16, repost_twice, {
        "repost": ["B/repost/r3 A/post/p1"], "counts": ["A/post/p1 repost=1"],
        "feed": ["A/post/p1", "B/repost/r3", "B/repost/r4"]}),
    Case(16, repost_twice_less_loser, {
        "repost": ["B/repost/r3 A/post/p1"], "feed": ["A/post/p1", "B/repost/r3"]}, case="b"),
    Case(67, sixty_follow, {"counts": [], "accounts": ["A followers=60"]}),
]  # fmt: skip
