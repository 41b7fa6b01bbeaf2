"""Short scenarios by hand: what happens in them, and what tables come to, in a few letters.

Each has accounts of its own, so that all of them lie in one log and are applied in one go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from tests.peer.population import FEED, GRAPH
from tests.peer.world import ALPHABET, BEGIN, Record, Ref, World

PROFILE: Final = "app.bsky.actor.profile"
EMBED: Final = "app.bsky.embed."
WRONG_CID: Final = "bafyreicqkujxixdlcphwgpoi2bltrtcxbshyydtu74eupubincmmlit4ry"

Seen = dict[str, list[str]]
"""Table → its rows in short, sorted; `refused` → the events refused, from 1, as text."""


class Play(World):
    """The events of one scenario. `A` to `I` are its accounts."""

    def __init__(self, number: int, case: str) -> None:
        super().__init__(seed=number * 32 + len(case))
        place = f"{ALPHABET[number // 32]}{ALPHABET[number % 32]}{case or 'a'}"
        self.dids = {name: f"did:plc:{name.lower() * 21}{place}" for name in "ABCDEFGHI"}
        self.A, self.B, self.C, self.D, *_ = self.dids.values()
        self.now = BEGIN + timedelta(hours=number)
        self.versions: dict[str, str] = {}
        """Of each CID, which version of its record it is: v1, v2, …"""
        self._made: dict[str, int] = {}
        self._place = f"{number}{case}"
        self.sql: list[tuple[int, str]] = []
        """Statements, each with how many events come before it."""

    def short(self, text: str | None) -> str:
        """What stands for a uri or a DID: A/post/p1."""
        text = (text or "").removeprefix("at://")
        text = self.versions.get(text, text).removesuffix(f".n{self._place}.test")
        for name, did in self.dids.items():
            text = text.replace(did, name)
        parts = text.split("/")
        return "/".join([parts[0], *(p.rpartition(".")[2] for p in parts[1:2]), *parts[2:]])

    def owns(self, row: Record) -> bool:
        """Whether a row is of this scenario."""
        place = self.A[-3:]
        texts = (row.get(key) or "" for key in ("uri", "did", "postUri", "author"))
        return any(f"{place}/" in f"{text}/" for text in texts)

    def handle(self, name: str) -> str:
        """A handle that nobody has in another scenario."""
        return f"{name}.n{self._place}.test"

    def put(
        self, did: str, collection: str, record: Record, rkey: str = "", *, update: bool = False
    ) -> Ref:
        """A create, or an update."""
        made = super().put(did, collection, record, rkey, update=update)
        number = self._made[made["uri"]] = self._made.get(made["uri"], 0) + 1
        self.versions[made["cid"]] = f"v{number}"
        return made

    def set_second(self, second: int) -> None:
        """The next event's time, from the scenario's hour on."""
        self.now = self.now.replace(minute=0, second=second)

    def statement(self, text: str) -> None:
        """SQL that comes after the events before."""
        self.sql.append((len(self.lines), text))

    def post(self, who: str, rkey: str, *, reply: Any = None, quote: Ref | None = None,
             update: bool = False, **more: object) -> Ref:  # fmt: skip
        """A post; `reply` is its root, or root and parent."""
        record: Record = {"text": rkey, **more}
        if reply is not None:
            root, parent = reply if isinstance(reply, tuple) else (reply, reply)
            record["reply"] = {"root": root, "parent": parent}
        if quote is not None:
            record["embed"] = {"$type": f"{EMBED}record", "record": quote}
        return self.put(who, f"{FEED}post", record, rkey, update=update)

    def point(self, kind: str, who: str, rkey: str, subject: Ref, *, update: bool = False) -> Ref:
        """A like or a repost."""
        return self.put(who, FEED + kind, {"subject": subject}, rkey, update=update)

    def like(self, rkey: str, subject: Ref, *, update: bool = False) -> Ref:
        """A like by B."""
        return self.point("like", self.B, rkey, subject, update=update)

    def follow(self, who: str, rkey: str, subject: str, *, update: bool = False) -> Ref:
        """A follow."""
        return self.put(who, f"{GRAPH}follow", {"subject": subject}, rkey, update=update)

    def thread_gate(self, post: Ref, *, update: bool = False, **more: object) -> Ref:
        """A gate of replies, of the post's account."""
        return self._gate("threadgate", post, more, update)

    def post_gate(self, post: Ref) -> Ref:
        """A gate that lets nobody embed the post."""
        rule = {"$type": f"{FEED}postgate#disableRule"}
        return self._gate("postgate", post, {"embeddingRules": [rule]}, False)

    def _gate(self, kind: str, post: Ref, more: dict[str, object], update: bool) -> Ref:
        did, _, rkey = post["uri"].removeprefix("at://").split("/")
        return self.put(did, FEED + kind, {"post": post["uri"], **more}, rkey, update=update)

    def unseen(self, who: str, rkey: str, collection: str = "app.bsky.feed.post") -> Ref:
        """A reference to a record that no event has brought."""
        return {"uri": f"at://{who}/{collection}/{rkey}", "cid": WRONG_CID}


def facets(*dids: str) -> list[Record]:
    """Facets that mention accounts."""
    index = {"byteStart": 0, "byteEnd": 1}
    return [{"index": index, "features": [{"$type": "app.bsky.richtext.facet#mention", "did": did}]}
            for did in dids]  # fmt: skip


def rule(name: str, **more: object) -> Record:
    """A rule of a thread gate."""
    return {"$type": f"{FEED}threadgate#{name}Rule", **more}


@dataclass(frozen=True)
class Case:
    """A scenario of section 8 of dataplane.md, or a part of one.

    `reference` says what tables come to in the reference; `correct` what is otherwise by default,
    and `why`. Tables that are named in neither are not looked at.
    """

    number: int
    play: Callable[[Play], None]
    reference: Seen
    correct: Seen = field(default_factory=dict)
    why: str = ""
    case: str = ""

    @property
    def name(self) -> str:
        """Its number, and which part it is."""
        return f"{self.number}{self.case}"
