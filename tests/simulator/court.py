"""What hangs on the order of the log: verdicts on posts, whom they notify, how accounts stand.

A naive judge that is told of one event after the other, as the log has them, repeats and all. The
rules are those of the AppView's dataplane (1.2.3, 1.2.4, 1.14, 4, 5), with the deviations of the
default: which events count is decided by revisions, an edit keeps marks, no revision goes back, a
post that comes late tells nobody of its replies.
It keeps what it is asked for by key, so that long histories are judged as well.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.simulator.facts import FOLLOW, ITEM, POST, POST_GATE, THREAD_GATE, moment

MARKS = {THREAD_GATE: "hasThreadGate", POST_GATE: "hasPostGate"}
VERDICTS = ("invalidReplyRoot", "violatesThreadGate", "violatesEmbeddingRules")
FLAGS = (*VERDICTS, *MARKS.values())
HEARD = (POST, FOLLOW, ITEM, THREAD_GATE, POST_GATE)
SHOWN = ("deactivated", "suspended", "takendown")
"""What is shown of an account that is not active."""

Flags = dict[str, bool | None]


class Entry(NamedTuple):
    """A row of the log, without its offset."""

    did: str
    kind: str
    action: str
    collection: str | None
    rkey: str | None
    rev: str | None
    cid: str | None
    record: bytes | None
    time_us: int


@dataclass
class Live:
    """A record that is there; of a post also what was decided of it, and whom it notifies."""

    did: str
    collection: str
    cid: str
    record: dict[str, Any]
    flags: Flags
    notices: list[dict[str, Any]] = field(default_factory=list)


class Court:
    """The records that are there, by at-uri, and the accounts that are known."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.live: dict[str, Live] = {}
        self.actors: dict[str, tuple[str, str | None]] = {}
        """When an account was first told of, and how it stands."""
        self.syncs: dict[str, tuple[str, str]] = {}
        """The highest revision of a repo, and its commit where that was told."""
        self._revs: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self._owned: defaultdict[str, set[str]] = defaultdict(set)
        self._pairs: Counter[tuple[str, ...]] = Counter()
        for entry in entries:
            self.eat(entry)

    def eat(self, entry: Entry) -> None:
        """Takes the next event. What its lexicon refuses is not for a court: see `reach`."""
        self.reach(entry)
        if (entry.kind, entry.action) in (("account", "deleted"), ("sync", "reset")):
            self._revs.pop(entry.did, None)
            for uri in self._owned.pop(entry.did, set()):
                self._pair(self.live.pop(uri), -1)
        elif entry.collection in HEARD:
            self._commit(entry)

    def reach(self, entry: Entry) -> None:
        """Notes how an account stands, and how far its repo is."""
        did, at = entry.did, moment(entry.time_us)
        if (entry.kind, entry.action) == ("account", "deleted"):
            self.actors.pop(did, None)
            self.syncs.pop(did, None)
            return
        if entry.kind == "identity":
            self.actors.setdefault(did, (at, None))
        elif entry.kind == "account" and entry.action in ("active", *SHOWN):
            since, _ = self.actors.get(did, (at, None))
            self.actors[did] = since, None if entry.action == "active" else entry.action
        rev = entry.rev or ""
        known, _ = before = self.syncs.get(did, ("", ""))
        told = json.loads(entry.record or b"").get("commit", "") if entry.kind == "sync" else ""
        if rev > known or (rev and rev == known and not before[1]):
            self.syncs[did] = rev, told

    def _commit(self, entry: Entry) -> None:
        uri, rev = f"at://{entry.did}/{entry.collection}/{entry.rkey}", entry.rev or ""
        mine, before = self._revs[entry.did], self.live.get(uri)
        if rev <= mine.get(uri, ""):
            return
        if entry.action == "create" and before is not None and before.cid == entry.cid:
            return
        if entry.action != "create" or before is not None:
            mine[uri] = rev
        if before is not None:
            self._pair(before, -1)
        if entry.action != "delete":
            self._put(uri, entry, before)
        elif before is not None:
            del self.live[uri]
            self._owned[entry.did].discard(uri)
            self._mark(before, False)

    def _put(self, uri: str, entry: Entry, before: Live | None) -> None:
        new = Live(entry.did, str(entry.collection), str(entry.cid),
                   json.loads(entry.record or b""), {})  # fmt: skip
        if new.collection == POST:
            marks = before.flags if before else {}
            new.flags = {name: marks.get(name) for name in MARKS.values()} | self._verdict(uri, new)
            at = min(new.record["createdAt"], moment(entry.time_us))
            frame = {"recordUri": uri, "recordCid": new.cid, "author": new.did, "sortAt": at}
            told: dict[str, dict[str, Any]] = {}
            for did, reason, subject in self._reasons(uri, new):
                told.setdefault(did, {"did": did, "reason": reason, "reasonSubject": subject})
            new.notices = [frame | one for did, one in told.items() if did != new.did]
        self.live[uri] = new
        self._owned[entry.did].add(uri)
        self._pair(new, 1)
        self._mark(new, True)

    def _pair(self, of: Live, step: int) -> None:
        """Counts a follow, or an account on a list."""
        if of.collection in (FOLLOW, ITEM):
            first = of.did if of.collection == FOLLOW else of.record["list"]
            self._pairs[of.collection, first, of.record["subject"]] += step

    def _mark(self, gate: Live, value: bool) -> None:
        marked = self.live.get(gate.record["post"]) if gate.collection in MARKS else None
        if marked is not None:
            marked.flags[MARKS[gate.collection]] = value

    def _verdict(self, uri: str, post: Live) -> Flags:
        flags: Flags = dict.fromkeys(VERDICTS)
        if reply := post.record.get("reply"):
            root, parent = reply["root"]["uri"], reply["parent"]["uri"]
            # A post that replies to itself has the root that its parent has.
            invalid = parent == root if parent == uri else self._is_invalid(root, parent)
            both = invalid, self._violates(post.did, root)
            if any(both):
                flags |= dict(zip(VERDICTS, both, strict=False))
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
        rules = [rule["$type"].partition("#")[2] for rule in gate.record["allow"]]
        lists = [rule["list"] for rule in gate.record["allow"] if "list" in rule]
        at_root = self.live.get(root)
        return not (
            ("mentionRule" in rules and at_root and replier in mentions(at_root.record))
            or ("followingRule" in rules and self._pairs[FOLLOW, owner, replier])
            or ("followerRule" in rules and self._pairs[FOLLOW, replier, owner])
            or any(self._pairs[ITEM, of, replier] for of in lists)
        )

    def _is_refused(self, post: Live) -> bool:
        quoted = quoted_by(post.record)
        if quoted is None or quoted.split("/")[2] == post.did:
            return False
        gate = self.live.get(quoted.replace(POST, POST_GATE))
        return gate is not None and bool(gate.record.get("embeddingRules"))

    def _reasons(self, uri: str, post: Live) -> Iterator[tuple[str, str, str | None]]:
        """Who has a reason to be told of a post, the best first: four of the thread at most."""
        for did in mentions(post.record):
            yield did, "mention", None
        quoted = quoted_by(post.record)
        if quoted is not None and not post.flags["violatesEmbeddingRules"]:
            yield quoted.split("/")[2], "quote", quoted
        reply = post.record.get("reply")
        if reply is None or post.flags["violatesThreadGate"]:
            return
        gate = self.live.get(reply["root"]["uri"].replace(POST, THREAD_GATE))
        hidden = gate.record.get("hiddenReplies", []) if gate else []
        above = reply["parent"]["uri"]
        for _ in range(4):
            there = post if above == uri else self.live.get(above)
            if there is None:
                return
            yield above.split("/")[2], "reply", above
            if above in hidden or "reply" not in there.record:
                return
            above = there.record["reply"]["parent"]["uri"]

    def notices(self) -> list[dict[str, Any]]:
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


def quoted_by(record: dict[str, Any]) -> str | None:
    """The post that a post quotes."""
    embedded = record.get("embed", {}).get("record", {})
    uri: str = embedded.get("record", embedded).get("uri", "")
    return uri if f"/{POST}/" in uri else None


def mentions(record: dict[str, Any]) -> list[str]:
    return [f["did"] for facet in record.get("facets", ()) for f in facet["features"]]
