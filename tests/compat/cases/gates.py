"""Gates of threads and of embedding (28 to 36, 49)."""

from __future__ import annotations

from tests.compat.casting import Case, Play, facets, rule
from tests.peer.population import FEED, GRAPH


def mention_and_following(w: Play) -> None:
    p1 = w.post(w.A, "p1", facets=facets(w.C))
    w.follow(w.A, "f1", w.D)
    w.thread_gate(p1, allow=[rule("mention"), rule("following")])
    for who in (w.A, w.B, w.C, w.D):
        w.post(who, "r1", reply=p1)


def gate_gone(w: Play) -> None:
    mention_and_following(w)
    p1 = w.unseen(w.A, "p1")
    w.delete(w.unseen(w.A, "p1", f"{FEED}threadgate"))
    w.post(w.C, "r2", reply=(p1, w.unseen(w.B, "r1")))


def gates_before_post(w: Play) -> None:
    p1 = w.unseen(w.A, "p1")
    w.thread_gate(p1, allow=[])
    w.post_gate(p1)
    p1 = w.post(w.A, "p1")
    w.post(w.B, "r1", reply=p1)
    w.post(w.A, "q1", quote=p1)
    w.post(w.B, "q2", quote=p1)


def gate_opened(w: Play) -> None:
    gates_before_post(w)
    w.thread_gate(w.unseen(w.A, "p1"), update=True)


def unknown_rule(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.thread_gate(p1, allow=[{"$type": "com.example.rule"}])
    for who in (w.A, w.B, w.C):
        w.post(who, "r1", reply=p1)


def root_unseen(w: Play) -> None:
    p1 = w.unseen(w.A, "p1")
    w.thread_gate(p1, allow=[])
    w.post(w.D, "r1", reply=p1)


def post_gate_later(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.post(w.B, "q1", quote=p1)
    w.post_gate(p1)


def post_gate_later_and_gone(w: Play) -> None:
    post_gate_later(w)
    w.delete(w.unseen(w.A, "p1", f"{FEED}postgate"))


def gates_elsewhere(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    for who, rkey in ((w.B, "p1"), (w.A, "p2")):
        w.put(who, f"{FEED}threadgate", {"post": p1["uri"], "allow": []}, rkey)


def item_of_anothers_list(w: Play) -> None:
    made = w.put(w.A, f"{GRAPH}list", {"name": "L", "purpose": "any"}, "l1")
    w.put(w.B, f"{GRAPH}listitem", {"subject": w.C, "list": made["uri"]}, "i1")


def hidden_reply(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    r1 = w.post(w.B, "r1", reply=p1)
    w.thread_gate(p1, hiddenReplies=[r1["uri"]])
    w.post(w.C, "r2", reply=(p1, r1))


def late_below_hidden(w: Play) -> None:
    """What is hidden keeps the root from a reply that comes late, but not from those below it."""
    p1 = w.post(w.A, "p1")
    r1 = w.post(w.B, "r1", reply=p1)
    w.thread_gate(p1, hiddenReplies=[r1["uri"]])
    w.post(w.D, "r3", reply=(p1, w.unseen(w.C, "r2")))
    w.post(w.C, "r2", reply=(p1, r1))


def late(w: Play) -> None:
    p1 = w.post(w.A, "p1")
    w.post(w.D, "r3", reply=(p1, w.unseen(w.C, "r2")))
    w.post(w.C, "r2", reply=p1)


LATE = "by default a post that comes after its replies tells nobody of them"
VIOLATES = "invalid=0 violates=1"
TOLD = ["A reply C/post/r1 A/post/p1", "A reply D/post/r1 A/post/p1", "C mention A/post/p1",
        "D follow A/follow/f1"]  # fmt: skip
CLOSED = {"flags": ["B/post/q2 refused=1", f"B/post/r1 {VIOLATES}"],
          "counts": ["A/post/p1 quote=2"]}  # fmt: skip

GATES = [
    Case(28, mention_and_following, {
        "flags": ["A/post/p1 gated=1", f"B/post/r1 {VIOLATES}"], "told": TOLD,
        "counts": ["A/post/p1 reply=3"],
        "accounts": ["A follows=1 posts=2", "B posts=1", "C posts=1", "D followers=1 posts=1"]}),
    Case(29, gate_gone, {
        "flags": ["A/post/p1 gated=0", f"B/post/r1 {VIOLATES}"],
        "told": sorted([*TOLD, "A reply C/post/r2 A/post/p1", "B reply C/post/r2 B/post/r1"])}),
    Case(30, gates_before_post, CLOSED | {"told": []}),
    Case(31, gate_opened, CLOSED | {"flags": ["A/post/p1 gated=1", *CLOSED["flags"]]}),
    Case(32, unknown_rule, {
        "flags": ["A/post/p1 gated=1", f"B/post/r1 {VIOLATES}", f"C/post/r1 {VIOLATES}"]}),
    Case(33, root_unseen, {"flags": ["D/post/r1 invalid=1 violates=1"], "counts": []}),
    Case(34, post_gate_later, {"flags": ["A/post/p1 postgated=1"]}),
    Case(34, post_gate_later_and_gone, {"flags": ["A/post/p1 postgated=0"]}, case="b"),
    Case(35, gates_elsewhere, {
        "thread gate": [], "record": ["A/post/p1"], "refused": ["2", "3"], "flags": []}),
    Case(36, item_of_anothers_list, {
        "list item": [], "record": ["A/list/l1"], "refused": ["2"]}),
    Case(49, hidden_reply, {
        "told": ["A reply B/post/r1 A/post/p1", "B reply C/post/r2 B/post/r1"]}),
    Case(49, late_below_hidden, {
        "told": ["A reply B/post/r1 A/post/p1", "A reply D/post/r3 A/post/p1",
                 "B reply C/post/r2 B/post/r1"]},
        {"told": ["A reply B/post/r1 A/post/p1", "B reply C/post/r2 B/post/r1"]}, LATE, case="b"),
    Case(49, late, {"told": ["A reply C/post/r2 A/post/p1"]}, case="c"),
]  # fmt: skip
