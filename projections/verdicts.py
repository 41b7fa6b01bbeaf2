"""What a post may not say by itself: whether its thread, and the gates of others, allow it.

The rules of the Bluesky AppView's dataplane. Identifiers are compared as they are written; CIDs are
not looked at.
"""

from __future__ import annotations

from projector.judging import Asking, CellsOf, ChildrenOf, Claims, Flags, Mark

POST = "app.bsky.feed.post"
THREAD_GATE = "app.bsky.feed.threadgate"
POST_GATE = "app.bsky.feed.postgate"

JUDGED = ("invalidReplyRoot", "violatesThreadGate", "violatesEmbeddingRules")
AFTER = ("follow", "list_item", "post_gate", "thread_gate")
MARKS = (
    Mark("hasThreadGate", "thread_gate", "postUri"),
    Mark("hasPostGate", "post_gate", "postUri"),
)

CLOSED, MENTION, FOLLOWER, FOLLOWING, LIST = "closed", "mention", "follower", "following", "list"
"""The rules of a thread gate, as `thread_gate_rule` has them. `closed` is there for every gate that
says who may reply, be it nobody."""
PARENT = ("replyRoot", "invalidReplyRoot", "replyParent")
"""What is asked of a reply's parent; at the end, what that replies to."""
DISABLE = "disable"
"""The one known rule of a post gate, as `post_gate_rule` has it."""


def judge_post(
    uri: str, creator: str, root: str | None, parent: str | None, quoted: str | None
) -> Asking[Flags]:
    """The verdict on a post: a value for each of `JUDGED`.

    Of the two flags of a reply either both are set or none; a flag of a quote is true or None.
    """
    refused = (yield from _is_refused(creator, quoted)) if quoted else False
    invalid: bool | None = None
    violates: bool | None = None
    if root is not None and parent is not None:
        violates = yield from _violates_gate(creator, root)
        # Last: a parent that comes with the reply has its own verdict first, and a chain of them
        # then waits for no further answers.
        invalid = yield from _is_invalid(uri, root, parent)
        if not invalid and not violates:
            invalid = violates = None
    return invalid, violates, refused or None


def _is_invalid(uri: str, root: str, parent: str) -> Asking[bool]:
    """Whether the parent is not there, is invalid itself, or is not of the root's thread.

    A post that replies to itself is there, as it is now, and of the thread that it names.
    """
    if parent == uri:
        return parent == root
    found = yield CellsOf("post", parent, PARENT)
    if found is None:
        return True
    parents_root, invalid, *_ = found
    if invalid:
        return True
    return bool(parents_root is not None if parent == root else parents_root != root)


def _violates_gate(replier: str, root: str) -> Asking[bool]:
    owner = did_of(root)
    if owner == replier:
        return False
    rows = yield ChildrenOf("thread_gate", "thread_gate_rule", gate_of(root, THREAD_GATE))
    rules = {rule for _, rule, _ in rows}
    if CLOSED not in rules:
        return False
    if MENTION in rules:
        mentions = yield ChildrenOf("post", "post_mention", root)
        if any(did == replier for _, did in mentions):
            return False
    if FOLLOWING in rules and (yield Claims("follow", (owner, replier))):
        return False
    if FOLLOWER in rules and (yield Claims("follow", (replier, owner))):
        return False
    for _, rule, uri in rows:
        if rule == LIST and (yield Claims("list_item", (uri, replier))):
            return False
    return True


def _is_refused(author: str, quoted: str) -> Asking[bool]:
    if did_of(quoted) == author:
        return False
    rules = yield ChildrenOf("post_gate", "post_gate_rule", gate_of(quoted, POST_GATE))
    return any(rule == DISABLE for _, rule in rules)


def did_of(uri: str) -> str:
    """The authority of an at-uri."""
    return uri.split("/", 3)[2]


def gate_of(uri: str, collection: str) -> str:
    """The at-uri of the gate that a post's at-uri stands for: of the same repo and record key."""
    _, _, did, _, *rest = [*uri.split("/", 4), "", ""]
    return f"at://{did}/{collection}/{rest[0]}"
