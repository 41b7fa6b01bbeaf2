"""The collections of which a network has few records; a generated firehose has them if asked."""

from __future__ import annotations

from collections.abc import Callable

from events.event import Event
from events.generate.accounts import Accounts
from events.generate.records import LIST, Records
from events.generate.stage import Stage

SELF = "self"


class Rare:
    """Makes one record after another of such collections, each as often as the others.

    `some_list` names the account and the key of a list. Of four, one is deleted again later, where
    it is not the only one of its account.
    """

    def __init__(
        self,
        stage: Stage,
        accounts: Accounts,
        records: Records,
        some_list: Callable[[], tuple[str, str]],
    ) -> None:
        self._stage = stage
        self._accounts = accounts
        self._time = records.time
        self._list = some_list

    def make(self) -> Event:
        """The next one."""
        bits = self._stage.rng.getrandbits
        collection, key, write = RARE[bits(16) % len(RARE)]
        did = self._accounts.actor()
        fields = write(self)
        record = (
            f'{{"$type":"{collection}","createdAt":"{self._time(self._stage.now_us)}",{fields}}}'
        )
        if key:
            return self._stage.put("update", did, collection, key, record)
        event = self._stage.put("create", did, collection, "", record)
        if bits(2) == 0:
            born = self._stage.index
            self._stage.plan(1 + bits(11), lambda: self._undo(event, born))
        return event

    def _undo(self, event: Event, born: int) -> Event:
        if not self._accounts.may_act(event.did, born):
            return self.make()
        return self._stage.delete(event.did, event.collection or "", event.rkey or "")

    def _list_uri(self) -> str:
        did, rkey = self._list()
        return f"at://{did}/{LIST}/{rkey}"

    def pack(self) -> str:
        """The fields of a starter pack."""
        return f'"list":"{self._list_uri()}","name":"Start here"'

    def of_a_list(self) -> str:
        """Those of what has a list for a subject."""
        return f'"subject":"{self._list_uri()}"'

    def feed(self) -> str:
        """Those of a feed generator."""
        return '"did":"did:web:feeds.example.com","displayName":"What is hot"'

    def verification(self) -> str:
        """Those of a verification."""
        did = self._accounts.popular()
        handle = f"{did[8:20]}.bsky.social"
        return f'"displayName":"Sam","handle":"{handle}","subject":"{did}"'

    def labeler(self) -> str:
        """Those of a labeler."""
        return '"policies":{"labelValues":["spam"]}'

    def told(self) -> str:
        """Those of a declaration of who may be told of an account's posts."""
        return '"allowSubscriptions":"followers"'

    def chat(self) -> str:
        """Those of a declaration of who may write."""
        return '"allowIncoming":"following"'

    def germ(self) -> str:
        """Those of a declaration of keys."""
        return '"currentKey":{"$bytes":"AzRvYmU"},"version":"1.1.0"'


RARE: tuple[tuple[str, str, Callable[[Rare], str]], ...] = (
    ("app.bsky.feed.generator", "", Rare.feed),
    ("app.bsky.graph.listblock", "", Rare.of_a_list),
    ("app.bsky.graph.referencelistoptout", "", Rare.of_a_list),
    ("app.bsky.graph.starterpack", "", Rare.pack),
    ("app.bsky.graph.verification", "", Rare.verification),
    ("app.bsky.labeler.service", SELF, Rare.labeler),
    ("app.bsky.notification.declaration", SELF, Rare.told),
    ("chat.bsky.actor.declaration", SELF, Rare.chat),
    ("com.germnetwork.declaration", SELF, Rare.germ),
)
"""Each such collection, the one key that its records have, if any, and how one is written."""
