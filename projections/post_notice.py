"""Whom a post notifies: those it mentions and quotes, and those of the thread above it.

The rules of the Bluesky AppView's dataplane, by what is there when the post is applied. Each
account is told once, for the first reason that there is, and nobody of the own posts.
"""

from __future__ import annotations

from typing import NamedTuple

from projections.verdicts import PARENT, THREAD_GATE, did_of, gate_of
from projector.declare import Child
from projector.judging import Asking, CellsOf, ChildrenOf

HEIGHT_MAX = 4
"""How many posts above a reply are told of it, at most."""

NOTICES = Child("post_notice", ("uri", "did", "reason", "reasonSubject", "cid", "sortAt"),
                hidden=True)  # fmt: skip

Told = dict[str, tuple[str, str | None]]
"""The accounts that are told, each with the reason, and the post that it is about."""


class Saying(NamedTuple):
    """What of a post, and of the verdict on it, decides who is told of it.

    `quoted` and `parent` are left out where gates forbid the quote, or the reply.
    """

    uri: str
    creator: str
    mentions: list[str]
    quoted: str | None
    root: str | None
    parent: str | None


def told_of(post: Saying) -> Asking[Told]:
    """Who is told of a post."""
    told: Told = {post.creator: ("", None)}
    for did in post.mentions:
        told.setdefault(did, ("mention", None))
    if post.quoted is not None:
        told.setdefault(did_of(post.quoted), ("quote", post.quoted))
    if post.root is not None and post.parent is not None:
        for uri in (yield from _above(post.uri, post.root, post.parent)):
            told.setdefault(did_of(uri), ("reply", uri))
    del told[post.creator]
    return told


def _above(uri: str, root: str, parent: str) -> Asking[list[str]]:
    """The posts above a reply, the nearest first, to the first that is hidden in the thread."""
    above: list[str] = []
    hidden: set[str] = set()
    at: str | None = parent
    # A thread that leads back to the post has no more to tell: what is above it is above already.
    while at is not None and at != uri and len(above) < HEIGHT_MAX:
        # Of the parent the same is asked as for the verdict.
        columns = PARENT if at == parent else PARENT[-1:]
        found = yield CellsOf("post", at, columns)
        if found is None:
            break
        if not above:
            hidden = yield from _hidden(root)
        above.append(at)
        at = None if at in hidden else found[-1]
    return above


def _hidden(root: str) -> Asking[set[str]]:
    """The replies that the gate of a thread hides."""
    rows = yield ChildrenOf("thread_gate", "thread_gate_hidden", gate_of(root, THREAD_GATE))
    return {uri for _, uri in rows}
