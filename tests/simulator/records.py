"""The records of the simulated network: valid ones of every collection, and bad ones.

Nearly all that they point at is one of a few things, so that they meet: posts that come and go,
gates of these, lists, packs, and the accounts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from tests.simulator.facts import (
    BLOCK,
    CHAT,
    CLAIMS,
    DIGITS,
    FEED,
    FOLLOW,
    GERM,
    ITEM,
    LABELER,
    LIKE,
    LIST,
    LIST_BLOCK,
    OPT_OUT,
    PACK,
    POST,
    POST_GATE,
    PROFILE,
    REPOST,
    SELVES,
    STATUS,
    THREAD_GATE,
    TOLD,
    VERIFICATION,
    moment,
    tid,
)

UNICODE = ("plain", "naïve", "日本語", "👩‍👩‍👧", "a\u0000b", "\ud800alone", 'say "it"', "tab\t")
WEIGHTS = {
    POST: 30, LIKE: 18, FOLLOW: 14, REPOST: 8, THREAD_GATE: 8, POST_GATE: 7, ITEM: 5, LIST: 2,
    BLOCK: 2, PROFILE: 3, LIST_BLOCK: 1, OPT_OUT: 1, FEED: 1, PACK: 1, LABELER: 1, VERIFICATION: 1,
    STATUS: 1, TOLD: 1, CHAT: 1, GERM: 1,
}  # fmt: skip
"""How often each collection is drawn, to the others."""
RULES = ("mentionRule", "followerRule", "followingRule", "listRule", "unknownRule")
BEFORE_US = 1_740_787_200_000_000

Record = dict[str, Any]
Ref = dict[str, str]


class Records:
    """Writes records of the accounts `dids`, each account known by its number there."""

    def __init__(self, rng: random.Random, dids: Sequence[str]) -> None:
        self.rng = rng
        self.dids = dids
        self.posts = [self._ref(number, POST) for number in range(len(dids))]
        self.lists = [self._ref(number, LIST)["uri"] for number in range(len(dids))]
        self.packs = [self._ref(number, PACK) for number in range(len(dids))]
        self._makes: dict[str, Callable[[str, str], Record]] = {
            POST: lambda _did, _rkey: self._post(self._target()),
            BLOCK: lambda _did, _rkey: {"subject": self._did()},
            LIST_BLOCK: lambda _did, _rkey: {"subject": self.rng.choice(self.lists)},
            OPT_OUT: lambda _did, _rkey: {"subject": self.rng.choice(self.lists)},
            ITEM: self._item,
            LIST: lambda _did, _rkey: {"name": self._text(), "purpose": self.rng.choice(
                ("app.bsky.graph.defs#curatelist", "app.bsky.graph.defs#modlist"))},
            FEED: lambda _did, _rkey: {"did": "did:web:feeds.example.com",
                                       "displayName": self._text(8)},
            PACK: lambda _did, _rkey: {"name": self._text(), "list": self.rng.choice(self.lists)},
            LABELER: lambda _did, _rkey: {"policies": {"labelValues": ["spam"]}},
            VERIFICATION: lambda _did, _rkey: {"subject": self._did(), "displayName": self._text(),
                                               "handle": "somebody.example.org"},
            PROFILE: lambda _did, _rkey: self._profile(),
            THREAD_GATE: self._thread_gate,
            POST_GATE: self._post_gate,
            STATUS: lambda _did, _rkey: {"status": "app.bsky.actor.status#live"},
            TOLD: lambda _did, _rkey: {"allowSubscriptions": self.rng.choice(("all", "none"))},
            CHAT: lambda _did, _rkey: {"allowIncoming": self._text()},
            GERM: lambda _did, _rkey: {"version": "1.1.0", "currentKey": {"$bytes": "AzRvYmU"}},
        }  # fmt: skip

    def collection(self) -> str:
        """One of all collections, rather of those of which there are many."""
        return self.rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]

    def claiming(self) -> str:
        """One whose records claim something."""
        return self.rng.choice((LIKE, REPOST, FOLLOW, *CLAIMS))

    def key(self, number: int, collection: str, fresh: str) -> str:
        """A record key of an account: `fresh`, or one that others point at."""
        if collection in SELVES:
            return "self" if self.rng.random() < 0.95 else fresh
        places = {LIST: self.lists, PACK: [ref["uri"] for ref in self.packs]}.get(
            collection, [ref["uri"] for ref in self.posts]
        )
        often = {POST: 0.35, THREAD_GATE: 0.9, POST_GATE: 0.9, LIST: 0.6, PACK: 0.6}
        if self.rng.random() > often.get(collection, 0):
            return fresh
        own = [uri for uri in places if uri.split("/")[2] == self.dids[number]]
        return self.rng.choice(own).rpartition("/")[2]

    def record(
        self, collection: str, did: str, rkey: str, time_us: int, target: Ref | None = None
    ) -> Record:
        """A valid record of an account, under a key; about a `target`, where it is about posts."""
        offset = self.rng.choice((-3_600_000_000, -1_000, 0, 86_400_000_000))
        record: Record = {"$type": collection, "createdAt": moment(time_us + offset)}
        if collection in (FOLLOW, LIKE, REPOST):
            return record | self._pointer(collection, target or self._target())
        return record | self._makes[collection](did, rkey)

    def bad(self, collection: str) -> str:
        """A record against its lexicon, which is not that of `CHAT`: that takes any object."""
        kinds = [
            f'{{"$type":"{collection}","createdAt":"yesterday","subject":"x","text":"x"}}',
            f'{{"$type":"app.bsky.feed.other","createdAt":{self.rng.random()}}}',
            f'{{"$type":"{collection}","createdAt":null,"text":7,"subject":[]}}',
        ]
        if collection != PROFILE:
            kinds.append(f'{{"$type":"{collection}"}}')
        return self.rng.choice(kinds)

    def letters(self, count: int) -> str:
        return "".join(self.rng.choices(DIGITS, k=count))

    def cid(self) -> str:
        return f"bafyrei{self.letters(51)}a"

    def _ref(self, number: int, collection: str) -> Ref:
        rkey = tid(BEFORE_US - self.rng.randrange(1, 10**9), number)
        return {"uri": f"at://{self.dids[number]}/{collection}/{rkey}", "cid": self.cid()}

    def _target(self) -> Ref:
        # The first ones rather than the others, so that what is said of them meets.
        return self.posts[int(len(self.posts) * self.rng.random() ** 2)]

    def _did(self) -> str:
        return self.rng.choice(self.dids)

    def _text(self, letters: int = 8) -> str:
        return f"{self.rng.choice(UNICODE)} {self.letters(letters)}"

    def _pointer(self, collection: str, target: Ref) -> Record:
        if collection == FOLLOW:
            return {"subject": target["uri"].split("/")[2]}
        via = {"via": self._target()} if self.rng.random() < 0.3 else {}
        return {"subject": target} | via

    def _item(self, did: str, _rkey: str) -> Record:
        return {"subject": self._did(), "list": self.lists[self.dids.index(did)]}

    def _profile(self) -> Record:
        record: Record = {"displayName": self._text()}
        if self.rng.random() < 0.5:
            record["avatar"] = self._blob("image/png")
        if self.rng.random() < 0.5:
            record["joinedViaStarterPack"] = self.rng.choice(self.packs)
        return record

    def _thread_gate(self, did: str, rkey: str) -> Record:
        gate: Record = {"post": f"at://{did}/{POST}/{rkey}"}
        if self.rng.random() < 0.85:
            names = self.rng.sample(RULES, self.rng.choice((0, 0, 1, 1, 2)))
            gate["allow"] = [self._rule(name) for name in names]
        if self.rng.random() < 0.3:
            gate["hiddenReplies"] = [self._target()["uri"] for _ in range(3)]
        return gate

    def _rule(self, name: str) -> Record:
        rule = {"$type": f"{THREAD_GATE}#{name}"}
        return rule | {"list": self.rng.choice(self.lists)} if name == "listRule" else rule

    def _post_gate(self, did: str, rkey: str) -> Record:
        gate: Record = {"post": f"at://{did}/{POST}/{rkey}"}
        if self.rng.random() < 0.7:
            gate["embeddingRules"] = [{"$type": f"{POST_GATE}#disableRule"}]
        return gate

    def _post(self, target: Ref) -> Record:
        record: Record = {"text": self._text()}
        if self.rng.random() < 0.5:
            parent = target if self.rng.random() < 0.6 else self._target()
            record["reply"] = {"root": target, "parent": parent}
        if self.rng.random() < 0.3:
            record["langs"] = ["en", "pt-BR"]
        if self.rng.random() < 0.2:
            record["tags"] = ["größer", "z\u0000"]
        if self.rng.random() < 0.3:
            mention = {"$type": "app.bsky.richtext.facet#mention", "did": self._did()}
            record["facets"] = [{"index": {"byteStart": 0, "byteEnd": 1}, "features": [mention]}]
        if self.rng.random() < 0.6:
            record["embed"] = self._embed()
        return record

    def _embed(self) -> Record:
        quote = {"$type": "app.bsky.embed.record", "record": self._quoted()}
        ratio = {"width": 4, "height": 3}
        image = {"image": self._blob("image/png"), "alt": self._text(), "aspectRatio": ratio}
        images = {"$type": "app.bsky.embed.images", "images": [image] * self.rng.randint(1, 3)}
        page = {"uri": "https://example.com", "title": self._text(), "description": "d"}
        item = {"$type": "app.bsky.embed.gallery#image"} | image
        return self.rng.choice((
            quote, quote, quote, images,
            {"$type": "app.bsky.embed.recordWithMedia", "record": quote, "media": images},
            {"$type": "app.bsky.embed.external", "external": page},
            {"$type": "app.bsky.embed.video", "video": self._blob("video/mp4")},
            {"$type": "app.bsky.embed.gallery", "items": [item] * 2},
        ))  # fmt: skip

    def _quoted(self) -> Ref:
        if self.rng.random() < 0.9:
            return self._target()
        return {"uri": self.rng.choice(self.lists), "cid": self.cid()}

    def _blob(self, mime: str) -> Record:
        ref = {"$link": f"bafkreia{self.letters(50)}a"}
        return {"$type": "blob", "ref": ref, "mimeType": mime, "size": 1000}
