"""A naive judge: one event at a time, dicts and loops, nothing of the code under test.

The rules are those of dataplane.md, 1.2.3, 1.2.4, 1.14, 2.2 and 5, with the deviations of the
default: which events count is decided by revisions (as in `tests.support.model`), an edit keeps
marks, and a post that comes after its replies tells nobody of them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from events.event import Event

POST, FOLLOW, ITEM = "app.bsky.feed.post", "app.bsky.graph.follow", "app.bsky.graph.listitem"
THREAD_GATE, POST_GATE = "app.bsky.feed.threadgate", "app.bsky.feed.postgate"
MARKS = {THREAD_GATE: "hasThreadGate", POST_GATE: "hasPostGate"}
RULE = "app.bsky.feed.threadgate#"

Flags = dict[str, bool | None]
Rows = list[dict[str, Any]]


@dataclass
class Live:
    """A record that is there; of a post also what was decided of it."""

    did: str
    collection: str
    rkey: str
    cid: str
    record: dict[str, Any]
    flags: Flags = field(default_factory=dict)
    notices: Rows = field(default_factory=list)


class NaiveCourt:
    """The live records by at-uri, and the revision that each key is at."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.live: dict[str, Live] = {}
        self.revs: dict[str, str] = {}
        for event in events:
            self.eat(event)

    def eat(self, event: Event) -> None:
        if event.kind == "account":
            mine = f"at://{event.did}/"
            self.live = {uri: x for uri, x in self.live.items() if not uri.startswith(mine)}
            self.revs = {uri: rev for uri, rev in self.revs.items() if not uri.startswith(mine)}
            return
        uri, rev = f"at://{event.did}/{event.collection}/{event.rkey}", str(event.rev)
        before = self.live.get(uri)
        if rev <= self.revs.get(uri, ""):
            return
        if event.action == "create" and before is not None and before.cid == event.cid:
            return
        if event.action == "delete":
            self.revs[uri] = rev
            self._delete(uri)
            return
        if before is not None or event.action == "update":
            self.revs[uri] = rev
        self._put(uri, event, before)

    def _delete(self, uri: str) -> None:
        gone = self.live.pop(uri, None)
        if gone is not None and gone.collection in MARKS:
            self._mark(gone, False)

    def _mark(self, gate: Live, value: bool) -> None:
        marked = self.live.get(gate.record["post"])
        if marked is not None:
            marked.flags[MARKS[gate.collection]] = value

    def _put(self, uri: str, event: Event, before: Live | None) -> None:
        new = Live(
            event.did, str(event.collection), str(event.rkey), str(event.cid),
            json.loads(event.record or b""),
        )  # fmt: skip
        if new.collection == POST:
            marks = before.flags if before else {}
            new.flags = {name: marks.get(name) for name in MARKS.values()}
            new.flags |= self._verdict(new)
            frame = {"recordUri": uri, "recordCid": new.cid, "author": new.did,
                     "sortAt": min(new.record["createdAt"], event.indexed_at)}  # fmt: skip
            new.notices = [frame | told for told in self._told(new)]
        self.live[uri] = new
        if new.collection in MARKS:
            self._mark(new, True)

    def _verdict(self, post: Live) -> Flags:
        reply = post.record.get("reply")
        flags: Flags = {"invalidReplyRoot": None, "violatesThreadGate": None}
        if reply:
            root, parent = reply["root"]["uri"], reply["parent"]["uri"]
            both = self._is_invalid(root, parent), self._violates(post.did, root)
            if any(both):
                flags = dict(zip(flags, both, strict=True))
        return flags | {"violatesEmbeddingRules": self._is_refused(post) or None}

    def _is_invalid(self, root: str, parent: str) -> bool:
        found = self.live.get(parent)
        if found is None or found.flags["invalidReplyRoot"]:
            return True
        theirs = found.record.get("reply")
        if parent == root:
            return theirs is not None
        return theirs is None or theirs["root"]["uri"] != root

    def _violates(self, replier: str, root: str) -> bool:
        owner = root.split("/")[2]
        gate = self.live.get(root.replace(POST, THREAD_GATE))
        if owner == replier or gate is None or "allow" not in gate.record:
            return False
        rules = [rule["$type"].removeprefix(RULE) for rule in gate.record["allow"]]
        lists = [rule["list"] for rule in gate.record["allow"] if "list" in rule]
        at_root = self.live.get(root)
        if "mentionRule" in rules and at_root and replier in mentions(at_root.record):
            return False
        allowed = (
            ("followingRule" in rules and self._follows(owner, replier))
            or ("followerRule" in rules and self._follows(replier, owner))
            or any(self._is_on(of, replier) for of in lists)
        )
        return not allowed

    def _follows(self, one: str, other: str) -> bool:
        return any(x.did == one and x.collection == FOLLOW and x.record["subject"] == other
                   for x in self.live.values())  # fmt: skip

    def _is_on(self, of: str, did: str) -> bool:
        return any(
            x.collection == ITEM and (x.record["list"], x.record["subject"]) == (of, did)
            for x in self.live.values()
        )

    def _is_refused(self, post: Live) -> bool:
        quoted = post.record.get("embed", {}).get("record", {}).get("uri")
        if quoted is None or quoted.split("/")[2] == post.did:
            return False
        gate = self.live.get(quoted.replace(POST, POST_GATE))
        return gate is not None and bool(gate.record.get("embeddingRules"))

    def _told(self, post: Live) -> Rows:
        told: dict[str, dict[str, str | None]] = {}
        for did, reason, subject in self._reasons(post):
            if did != post.did and did not in told:
                told[did] = {"did": did, "reason": reason, "reasonSubject": subject}
        return list(told.values())

    def _reasons(self, post: Live) -> Iterable[tuple[str, str, str | None]]:
        """Everybody who has a reason to be told of a post, the best first."""
        for did in mentions(post.record):
            yield did, "mention", None
        quoted = post.record.get("embed", {}).get("record", {}).get("uri")
        if quoted is not None and not post.flags["violatesEmbeddingRules"]:
            yield quoted.split("/")[2], "quote", quoted
        reply = post.record.get("reply")
        if reply is None or post.flags["violatesThreadGate"]:
            return
        gate = self.live.get(reply["root"]["uri"].replace(POST, THREAD_GATE))
        hidden = gate.record.get("hiddenReplies", []) if gate else []
        # The post is there by now, in what it says now: a thread may lead back to it.
        posts = self.live | {f"at://{post.did}/{POST}/{post.rkey}": post}
        above = reply["parent"]["uri"]
        for _ in range(4):
            if above not in posts:
                return
            yield above.split("/")[2], "reply", above
            if above in hidden:
                return
            theirs = posts[above].record.get("reply")
            if theirs is None:
                return
            above = theirs["parent"]["uri"]

    def notices(self) -> Rows:
        """Whom the posts notify, of what."""
        return [notice for x in self.live.values() for notice in x.notices]

    def flags(self) -> dict[str, Flags]:
        """What was decided of each post."""
        return {uri: x.flags for uri, x in self.live.items() if x.collection == POST}

    def replies(self) -> Counter[str]:
        """How many replies each post has that count."""
        posts = [x for x in self.live.values() if x.collection == POST and "reply" in x.record]
        return Counter(
            x.record["reply"]["parent"]["uri"] for x in posts if not x.flags["violatesThreadGate"]
        )


def mentions(record: dict[str, Any]) -> list[str]:
    return [f["did"] for facet in record.get("facets", ()) for f in facet["features"]]
