"""Who lives in the small network, and what they do."""

from __future__ import annotations

from typing import Any, Final

from tests.peer.world import Record, Ref, World

ACCOUNTS: Final = 24
POSTS: Final = 160
SEED: Final = 6

FEED: Final = "app.bsky.feed."
GRAPH: Final = "app.bsky.graph."
EMBED: Final = "app.bsky.embed."


class Population:
    """The accounts, and what they have made so far."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.random = world.random
        self.dids = [world.did() for _ in range(ACCOUNTS)]
        self.posts: list[Ref] = []
        self.roots: dict[str, Ref] = {}
        self.spare: list[Ref] = []
        self.lists: list[Ref] = []
        self.feeds: list[Ref] = []
        self.pack: Ref = {}

    def live(self) -> None:
        """All of it, in order."""
        self._arrive()
        self._follow()
        self._declare()
        self._gather()
        for _ in range(POSTS):
            self._post()
        self._react()
        self._join()
        self._leave()

    def _join(self) -> None:
        """Some come by a starter pack."""
        for did in self.dids[-2:]:
            joined = {"displayName": "New here", "joinedViaStarterPack": self.pack}
            self.world.put(did, "app.bsky.actor.profile", joined, "self")

    def _arrive(self) -> None:
        for i, did in enumerate(self.dids):
            self.world.identity(did, f"someone{i}.test")
        for i, did in enumerate(self.dids[:-2]):
            profile: Record = {"displayName": f"Someone {i}", "description": self.world.text()}
            if i % 3 == 0:
                profile["avatar"] = self.world.blob("image/jpeg")
                profile["banner"] = self.world.blob("image/png")
            self.world.put(did, "app.bsky.actor.profile", profile, "self")

    def _follow(self) -> None:
        for did in self.dids:
            for other in self.random.sample(self.dids[:23], 7):
                follow = self.world.put(did, GRAPH + "follow", {"subject": other})
                if self.random.random() < 0.15:
                    self.spare.append(follow)
        for did, other in zip(self.dids[:3], self.dids[3:6], strict=True):
            self.world.put(did, GRAPH + "block", {"subject": other})
        first = self.world.put(self.dids[7], GRAPH + "follow", {"subject": self.dids[23]})
        self.world.put(self.dids[7], GRAPH + "follow", {"subject": self.dids[23]})
        self.spare.append(first)  # The second waits for that.

    def _declare(self) -> None:
        a, b, c, *_ = self.dids
        put = self.world.put
        put(a, "app.bsky.notification.declaration", {"allowSubscriptions": "mutuals"}, "self")
        put(b, "chat.bsky.actor.declaration", {"allowIncoming": "all"}, "self")
        key = {"$bytes": "AAECAwQFBgcICQoLDA0ODw"}
        put(c, "com.germnetwork.declaration", {"version": "1.0.0", "currentKey": key}, "self")
        live = {"status": "app.bsky.actor.status#live", "durationMinutes": 60}
        put(a, "app.bsky.actor.status", live, "self")
        put(b, "app.bsky.labeler.service", {"policies": {"labelValues": ["spam"]}}, "self")
        for i, did in enumerate(self.dids[4:8]):
            told = {"subject": did, "handle": f"someone{i + 4}.test", "displayName": "Someone"}
            put(a, GRAPH + "verification", told)

    def _gather(self) -> None:
        for i, purpose in enumerate(("curatelist", "modlist", "referencelist", "curatelist")):
            owner = self.dids[i]
            made = self.world.put(owner, GRAPH + "list", {
                "name": f"List {i}", "purpose": f"app.bsky.graph.defs#{purpose}",
                "description": self.world.text()})  # fmt: skip
            self.lists.append(made)
            for did in self.random.sample(self.dids, 6):
                self.world.put(owner, GRAPH + "listitem", {"subject": did, "list": made["uri"]})
        self.world.put(self.dids[9], GRAPH + "listblock", {"subject": self.lists[1]["uri"]})
        reference = self.lists[2]["uri"]
        self.world.put(self.dids[5], GRAPH + "referencelistoptout", {"subject": reference})
        pack = {"name": "Begin here", "list": reference}
        self.pack = self.world.put(self.dids[2], GRAPH + "starterpack", pack)
        for i in range(3):
            self.feeds.append(self.world.put(self.dids[i], FEED + "generator", {
                "did": "did:web:feeds.test", "displayName": f"Feed {i}"}, f"feed{i}"))  # fmt: skip

    def _post(self) -> None:
        author = self.random.choice(self.dids)
        record: Record = {"text": self.world.text()}
        if self.random.random() < 0.7:
            record["langs"] = ["en"]
        if self.random.random() < 0.1:
            record["tags"] = ["herons", "tea"]
        if self.random.random() < 0.1:
            record |= self._mention()
        if self.posts and self.random.random() < 0.5:
            record["reply"] = self._reply()
        if self.random.random() < 0.5:
            record["embed"] = self._embed()
        made = self.world.put(author, FEED + "post", record)
        reply = record.get("reply")
        self.roots[made["uri"]] = reply["root"] if reply else made
        self.posts.append(made)
        if not reply and self.random.random() < 0.25:
            self._gate(author, made)

    def _mention(self) -> Record:
        did = self.random.choice(self.dids)
        feature = {"$type": "app.bsky.richtext.facet#mention", "did": did}
        return {"text": "@someone", "facets": [
            {"index": {"byteStart": 0, "byteEnd": 8}, "features": [feature]}]}  # fmt: skip

    def _reply(self) -> Record:
        parent = self.random.choice(self.posts[-25:])
        return {"root": self.roots[parent["uri"]], "parent": parent}

    def _embed(self) -> Record:
        embeds = [self._images, self._external, self._video, self._gallery]
        if self.posts:
            embeds += [self._record, self._record, self._record_with_media]
        return self.random.choice(embeds)()

    def _images(self) -> Record:
        image = {"image": self.world.blob("image/jpeg"), "alt": self.world.text()}
        return {"$type": EMBED + "images", "images": [image] * self.random.randint(1, 4)}

    def _external(self) -> Record:
        card: Record = {
            "uri": "https://example.test/a",
            "title": "A",
            "description": self.world.text(),
        }
        if self.random.random() < 0.5:
            card = {**card, "thumb": self.world.blob("image/png")}
        return {"$type": EMBED + "external", "external": card}

    def _video(self) -> Record:
        return {"$type": EMBED + "video", "video": self.world.blob("video/mp4"), "alt": "a video"}

    def _gallery(self) -> Record:
        item = {"$type": EMBED + "gallery#image", "image": self.world.blob("image/jpeg"),
                "alt": "one of some", "aspectRatio": {"width": 4, "height": 3}}  # fmt: skip
        return {"$type": EMBED + "gallery", "items": [item, item]}

    def _record(self) -> Record:
        others: list[Ref] = self.lists + self.feeds
        of = self.posts[-40:] if self.random.random() < 0.8 else others
        return {"$type": EMBED + "record", "record": self.random.choice(of)}

    def _record_with_media(self) -> Record:
        return {
            "$type": EMBED + "recordWithMedia",
            "record": self._record(),
            "media": self._images(),
        }

    def _gate(self, author: str, post: Ref) -> None:
        rkey = post["uri"].rpartition("/")[2]
        rules: list[list[dict[str, Any]]] = [
            [], [{"$type": FEED + "threadgate#followingRule"}],
            [{"$type": FEED + f"threadgate#{who}Rule"} for who in ("follower", "mention")],
            [{"$type": FEED + "threadgate#listRule", "list": self.lists[0]["uri"]}],
        ]  # fmt: skip
        allow = self.random.choice(rules)
        self.world.put(author, FEED + "threadgate", {"post": post["uri"], "allow": allow}, rkey)
        if self.random.random() < 0.5:
            closed = [{"$type": FEED + "postgate#disableRule"}]
            gate = {"post": post["uri"], "embeddingRules": closed}
            self.world.put(author, FEED + "postgate", gate, rkey)

    def _react(self) -> None:
        reposts: list[Ref] = []
        for kind, share, made in (("repost", 0.05, reposts), ("like", 0.25, [])):
            for did in self.dids:
                for post in self.posts + self.feeds:
                    if self.random.random() < share:
                        record: Record = {"subject": post}
                        if kind == "like" and self.random.random() < 0.1:
                            record["via"] = self._via(post, reposts)
                        made.append(self.world.put(did, FEED + kind, record))
            self.spare += self.random.sample(made, len(made) // 10)

    def _via(self, post: Ref, reposts: list[Ref]) -> Ref:
        """A repost of somebody else's: one who is told twice of one like is told in no order."""
        others = [r for r in reposts if r["uri"].split("/")[2] != post["uri"].split("/")[2]]
        return self.random.choice(others)

    def _leave(self) -> None:
        for ref in self.spare:
            self.world.delete(ref)
        alone = [self.world.put(did, FEED + "post", {"text": "soon gone"}) for did in self.dids[:5]]
        for ref in alone:
            self.world.delete(ref)
        self.world.put(self.dids[4], "app.bsky.actor.profile", {"displayName": "Anew"}, "self",
                       update=True)  # fmt: skip
        changed = {"name": "Renamed", "purpose": "app.bsky.graph.defs#curatelist"}
        rkey = self.lists[3]["uri"].rpartition("/")[2]
        self.world.put(self.dids[3], GRAPH + "list", changed, rkey, update=True)
        self.world.identity(self.dids[6], "renamed.test")
        self.world.account(self.dids[10], active=False, status="deactivated")
        self.world.account(self.dids[11], active=False, status="takendown")
        self.world.account(self.dids[12], active=False, status="deactivated")
        self.world.account(self.dids[12], active=True)


def everyday() -> list[bytes]:
    """The events of the small network: Jetstream lines."""
    world = World(SEED)
    Population(world).live()
    return world.lines
