"""Whom a post notifies: those it mentions and quotes, and the thread above it.

A post may come after its replies: then they are told to those above as well. Each account is told
once, by the first reason that there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from projections.reference.answers import record_of
from projections.reference.notices import Notice
from projections.verdicts import THREAD_GATE, did_of, gate_of
from projector.effects import Doing, do

DEPTH: Final = 5

ABOVE: Final = f"""
WITH RECURSIVE above(uri, parent, height) AS (
    SELECT uri, "replyParent", 0 FROM post WHERE uri = $1
    UNION ALL
    SELECT p.uri, p."replyParent", a.height + 1 FROM above AS a JOIN post AS p ON p.uri = a.parent
    WHERE a.height < {DEPTH})
SELECT uri, height FROM above ORDER BY height
"""
# Of those equally deep the AppView takes them as Postgres finds them; here it is as they came.
BELOW: Final = f"""
WITH RECURSIVE below(uri, depth) AS (
    SELECT uri, 1 FROM post WHERE "replyParent" = $1
    UNION ALL
    SELECT p.uri, b.depth + 1 FROM below AS b JOIN post AS p ON p."replyParent" = b.uri
    WHERE b.depth < {DEPTH})
SELECT p.uri, p.cid, p.creator, p."sortAt", b.depth FROM below AS b JOIN post AS p USING (uri)
ORDER BY b.depth, p."indexedAt", p.uri
"""


class Above(NamedTuple):
    """A post of the thread, and how far above the one in question; 0 is that itself."""

    uri: str
    height: int


class Below(NamedTuple):
    """A post that replies to it, and how far below."""

    uri: str
    cid: str
    creator: str
    sort_at: str
    depth: int


@dataclass(slots=True)
class PostSaid:
    """What of a post decides who is told of it."""

    uri: str
    cid: str
    creator: str
    sort_at: str
    root: str | None
    mentions: list[str]
    quoted: str | None
    may_reply: bool
    notices: list[Notice] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def tell(self, did: str, reason: str, subject: str | None) -> None:
        """Has an account told of the post, unless it is its author, or is told already."""
        self._tell(Notice(did, self.uri, self.cid, self.creator, reason, subject, self.sort_at))

    def tell_of(self, post: Below, subject: str) -> None:
        """Has the author of `subject` told of a reply that was there before."""
        did = did_of(subject)
        self._tell(Notice(did, post.uri, post.cid, post.creator, "reply", subject, post.sort_at))

    def _tell(self, notice: Notice) -> None:
        if notice.did not in self.told:
            self.told.add(notice.did)
            self.notices.append(notice)


def notices_of(post: PostSaid) -> Doing[list[Notice]]:
    """The notifications of a post that was put just now."""
    post.told.add(post.creator)
    for did in post.mentions:
        post.tell(did, "mention", None)
    if post.quoted is not None:
        post.tell(did_of(post.quoted), "quote", post.quoted)
    if not post.may_reply:
        return post.notices
    above = [Above(post.uri, 0)]
    if post.root is not None:
        above = [Above(*row) for row in (yield from do(ABOVE, post.uri))]
        yield from _tell_above(post, post.root, above[1:])
    for row in (yield from do(BELOW, post.uri)):
        below = Below(*row)
        for one in above:
            if below.depth + one.height < DEPTH:
                post.tell_of(below, one.uri)
    return post.notices


def _tell_above(post: PostSaid, root: str, above: list[Above]) -> Doing[None]:
    if not above:
        return
    gate = (yield from record_of(gate_of(root, THREAD_GATE))) or {}
    hidden = gate.get("hiddenReplies", ())
    for one in above:
        if one.height < DEPTH and one.uri != post.uri:
            post.tell(did_of(one.uri), "reply", one.uri)
            if one.uri in hidden:
                return
