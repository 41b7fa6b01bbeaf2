"""The posts of a generated firehose, and which of them people like, repost, quote and answer."""

from __future__ import annotations

from events.event import Event
from events.generate.accounts import Accounts
from events.generate.edges import Live
from events.generate.ids import record_cid, tid
from events.generate.records import POST, POSTGATE, THREADGATE, Post, Records, strong_ref
from events.generate.stage import Stage

_RECENT = 8192
_HOT = 4096
_STARS = 512
_EARLIER = 512  # posts from before the first event
_FEED = "app.bsky.feed.generator"
_COPIED, _STARRED = 0.62, 0.72
_DAY_US = 86_400_000_000


class Posts:
    """Makes, changes and deletes posts, and gives subjects whose popularity has a long tail.

    Six subjects of ten are copied from the subjects of late (who has shall be given), one is a
    star by Zipf's law, the others are posts of late, rather new than old. Some stars are feed
    generators. A deleted post may be liked for a while, as it is in truth.
    """

    def __init__(self, stage: Stage, accounts: Accounts, records: Records) -> None:
        self._stage = stage
        self._random = stage.rng.random
        self._bits = stage.rng.getrandbits
        self._accounts = accounts
        self._records = records
        self._live = Live(stage, accounts)
        self._newest = 0
        self._gated: Post | None = None
        earlier = [self._before_all() for _ in range(_EARLIER)]
        self._recent = [earlier[at % _EARLIER] for at in range(_RECENT)]
        self._stars = [earlier[at % _EARLIER] for at in range(_STARS)]
        self._stars[10], self._stars[100] = self._feed("hot"), self._feed("art")
        self._hot = [self._late() for _ in range(_HOT)]
        self._coldest = 0

    def subject(self) -> Post:
        """Something to like or repost."""
        luck = self._random()
        if luck < _COPIED:
            post = self._hot[self._bits(12)]
        elif luck < _STARRED:
            post = self._stars[int((_STARS + 0.999) ** self._random()) - 1]
        else:
            post = self._late()
        self._coldest = at = (self._coldest + 1) & (_HOT - 1)
        self._hot[at] = post
        return post

    def create(self, did: str = "") -> Event:
        """A new post of an account, or of any."""
        did = did or self._accounts.actor()
        record, root_ref = self._write()
        # one of 128 is an import whose key has the time of its first publication
        rkey = self._old_key() if self._bits(7) == 0 else ""
        event = self._stage.put("create", did, POST, rkey, record)
        rkey, cid = event.rkey or "", event.cid or ""
        self._live.add((did, rkey, self._stage.index, ""))
        self._publish(_post(did, rkey, cid, root_ref))
        return event

    def delete(self) -> Event:
        """Deletes a post; makes one if there is none."""
        edge = self._live.pick(take=True)
        return self._stage.delete(edge[0], POST, edge[1]) if edge else self.create()

    def rewrite(self) -> Event:
        """Updates a post; makes one if there is none."""
        edge = self._live.pick()
        if edge is None:
            return self.create()
        return self._stage.put("update", edge[0], POST, edge[1], self._write()[0])

    def gate(self) -> Event:
        """Gates the newest post, if that is not gated yet."""
        post = self._recent[self._newest]
        if post is self._gated or not self._accounts.may_act(post.did, self._stage.index):
            return self.create()
        self._gated = post
        collection = THREADGATE if self._bits(1) else POSTGATE
        record = self._records.gate(self._stage.now_us, collection, post)
        return self._stage.put("create", post.did, collection, post.rkey, record)

    def _write(self) -> tuple[str, str]:
        friend = self._accounts.popular()
        return self._records.post(self._stage.now_us, self._late(), self._late(), friend)

    def _publish(self, post: Post) -> None:
        self._newest = at = (self._newest + 1) & (_RECENT - 1)
        self._recent[at] = post
        if self._bits(7) == 0:
            self._stars[self._bits(9)] = post

    def _late(self) -> Post:
        """A post of late: the k-th newest with a chance of about 1/(9·k)."""
        return self._recent[(self._newest - int(_RECENT ** self._random())) & (_RECENT - 1)]

    def _old_key(self) -> str:
        ago_us = _DAY_US + int(self._random() * 900 * _DAY_US)
        return tid(self._stage.now_us - ago_us, "22")

    def _before_all(self) -> Post:
        did = self._accounts.actor()
        rkey = tid(self._stage.now_us - int(self._random() * _DAY_US) - _DAY_US, did[-2:])
        cid = record_cid(rkey.encode())
        return _post(did, rkey, cid, "")

    def _feed(self, rkey: str) -> Post:
        did = self._accounts.popular()
        ref = strong_ref(did, _FEED, rkey, record_cid(rkey.encode()))
        return Post(did, rkey, ref, ref, f'"subject":{ref}')


def _post(did: str, rkey: str, cid: str, root_ref: str) -> Post:
    ref = strong_ref(did, POST, rkey, cid)
    return Post(did, rkey, ref, root_ref or ref, f'"subject":{ref}')
