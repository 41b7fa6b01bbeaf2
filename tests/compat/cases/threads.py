"""Threads: which replies are valid, and who is told (22 to 27, 37, 38, 48)."""

from __future__ import annotations

from tests.compat.casting import WRONG_CID, Case, Play


def reply_before_post(w: Play) -> None:
    p1 = w.unseen(w.A, "p1")
    w.post(w.B, "r1", reply=p1)
    w.post(w.A, "p1")


def reply_to_invalid(w: Play) -> None:
    reply_before_post(w)
    w.post(w.C, "r2", reply=(w.unseen(w.A, "p1"), w.unseen(w.B, "r1")))


def invalid_updated(w: Play) -> None:
    reply_to_invalid(w)
    w.post(w.B, "r1", reply=w.unseen(w.A, "p1"), update=True)


def wrong_roots(w: Play) -> None:
    p1, p2 = w.post(w.A, "p1"), w.post(w.A, "p2")
    c1 = w.post(w.B, "c1", reply=p1)
    w.post(w.C, "x1", reply=(p2, c1))
    w.post(w.C, "x2", reply=c1)
    w.post(w.C, "x3", reply=(p1, p2))


def wrong_cids(w: Play) -> None:
    p1 = w.post(w.A, "p1") | {"cid": WRONG_CID}
    w.post(w.B, "r1", reply=p1)


def deleted_parent(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.delete(p1)
    w.post(w.B, "r1", reply=p1)


def self_reply(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.post(w.A, "p2", reply=p1)
    w.post(w.A, "p2", reply=p1, langs=["en"], update=True)


def self_reply_anew(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    p2 = w.post(w.A, "p2", reply=p1)
    w.delete(p2)
    w.post(w.A, "p2", reply=p1)


def moved(w: Play) -> None:
    p1, p2 = w.post(w.A, "p1"), w.post(w.A, "p2")
    w.post(w.B, "r1", reply=p1)
    w.post(w.B, "r1", reply=p2, update=True)


def moved_out(w: Play) -> None:
    moved(w)
    w.post(w.B, "r1", update=True)


def chain(w: Play) -> None:
    first, *others = w.dids
    root = parent = w.post(w.dids[first], "p")
    for name in others:
        parent = w.post(w.dids[name], "r", reply=(root, parent))


def _told_in_chain() -> list[str]:
    names = "ABCDEFGHI"
    return sorted(
        f"{names[above]} reply {names[n]}/post/r {names[above]}/post/{'r' if above else 'p'}"
        for n in range(1, 9)
        for above in range(max(0, n - 4), n)
    )


INVALID = "invalid=1 violates=0"

THREADS = [
    Case(22, reply_before_post, {
        "flags": [f"B/post/r1 {INVALID}"], "counts": ["A/post/p1 reply=1"], "told": []}),
    Case(23, reply_to_invalid, {
        "flags": [f"B/post/r1 {INVALID}", f"C/post/r2 {INVALID}"],
        "told": ["A reply C/post/r2 A/post/p1", "B reply C/post/r2 B/post/r1"]}),
    Case(24, invalid_updated, {"flags": [f"C/post/r2 {INVALID}"]}),
    Case(25, wrong_roots, {
        "flags": [f"C/post/x{n} {INVALID}" for n in (1, 2, 3)],
        "counts": ["A/post/p1 reply=1", "A/post/p2 reply=1", "B/post/c1 reply=2"],
        "told": ["A reply B/post/c1 A/post/p1", "A reply C/post/x1 A/post/p1",
                 "A reply C/post/x2 A/post/p1", "A reply C/post/x3 A/post/p2",
                 "B reply C/post/x1 B/post/c1", "B reply C/post/x2 B/post/c1"]}),
    Case(26, wrong_cids, {"flags": [], "counts": ["A/post/p1 reply=1"]}),
    Case(27, deleted_parent, {
        "flags": [f"B/post/r1 {INVALID}"], "counts": ["A/post/p1 reply=1"]}),
    Case(37, self_reply, {
        "self replies": ["A/post/p2 deleted"], "post": ["A/post/p1", 'A/post/p2 langs=["en"]']},
        {"self replies": ["A/post/p2"]}, "by default a post that is there is not marked deleted"),
    Case(37, self_reply_anew, {
        "self replies": ["A/post/p2 deleted"], "post": ["A/post/p1", "A/post/p2"]},
        {"self replies": ["A/post/p2"]}, "the same", case="b"),
    Case(38, moved, {
        "counts": ["A/post/p2 reply=1"], "accounts": ["A posts=2", "B posts=1"]}),
    Case(38, moved_out, {"counts": [], "accounts": ["A posts=2", "B posts=1"]}, case="b"),
    Case(48, chain, {"told": _told_in_chain()}),
]  # fmt: skip
