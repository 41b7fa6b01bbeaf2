"""A fact of the simulated network, and its form on the wire.

Plain Python that owes nothing to the code under test: own identifiers, own JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

FOLLOW = "app.bsky.graph.follow"
LIKE = "app.bsky.feed.like"
REPOST = "app.bsky.feed.repost"
POST = "app.bsky.feed.post"
BLOCK = "app.bsky.graph.block"
PROFILE = "app.bsky.actor.profile"
LIST = "app.bsky.graph.list"
ITEM = "app.bsky.graph.listitem"
LIST_BLOCK = "app.bsky.graph.listblock"
OPT_OUT = "app.bsky.graph.referencelistoptout"
FEED = "app.bsky.feed.generator"
PACK = "app.bsky.graph.starterpack"
LABELER = "app.bsky.labeler.service"
VERIFICATION = "app.bsky.graph.verification"
THREAD_GATE = "app.bsky.feed.threadgate"
POST_GATE = "app.bsky.feed.postgate"
STATUS = "app.bsky.actor.status"
TOLD = "app.bsky.notification.declaration"
CHAT = "chat.bsky.actor.declaration"
GERM = "com.germnetwork.declaration"

TABLES = {
    FOLLOW: "follow", LIKE: "like", REPOST: "repost", POST: "post", BLOCK: "actor_block",
    PROFILE: "profile", LIST: "list", ITEM: "list_item", LIST_BLOCK: "list_block",
    OPT_OUT: "reference_list_opt_out", FEED: "feed_generator", PACK: "starter_pack",
    LABELER: "labeler", VERIFICATION: "verification", THREAD_GATE: "thread_gate",
    POST_GATE: "post_gate", STATUS: "", TOLD: "", CHAT: "", GERM: "",
}  # fmt: skip
"""Each collection, and the table that its records have beside `record`, if any."""
CLAIMS = {
    FOLLOW: ("creator", "subjectDid"), LIKE: ("creator", "subject"), REPOST: ("creator", "subject"),
    BLOCK: ("creator", "subjectDid"), ITEM: ("listUri", "subjectDid"),
    LIST_BLOCK: ("creator", "subjectUri"), OPT_OUT: ("creator", "subjectUri"),
    VERIFICATION: ("subject", "creator"),
}  # fmt: skip
"""The columns whose values only one row may have."""
SELVES = (PROFILE, LABELER, STATUS, TOLD, CHAT, GERM)
"""Collections of which an account has one record, under the key `self`."""

DIGITS = "234567abcdefghijklmnopqrstuvwxyz"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def tid(microseconds: int, clock: int = 0) -> str:
    """A TID: 53 bits of time and 10 of a clock's number, whose order is that of their texts."""
    number, text = microseconds << 10 | clock, ""
    for _ in range(13):
        number, digit = divmod(number, 32)
        text = DIGITS[digit] + text
    return text


def moment(time_us: int) -> str:
    """A time as records have it, cut off at milliseconds."""
    text = (EPOCH + timedelta(microseconds=time_us)).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Fact:
    """What happened. `what` says it in one word:

    - `create`, `update`, `delete` of the record at `collection` and `rkey`;
    - `deleted`, `takendown`, `deactivated`, `active`: what became of an account;
    - `identity`; `reset` (the repo begins anew); `unknown` (a kind that nobody knows);
    - `garbage`: a message that is no event at all.

    `fate` of a create or update: `kept`, `invalid` (against its lexicon) or `refused` (valid, but
    nothing that Postgres can index). `text` is its record's JSON, byte for byte.
    """

    number: int
    did: str
    what: str
    time_us: int
    collection: str = ""
    rkey: str = ""
    rev: str = ""
    cid: str = ""
    text: str = ""
    fate: str = "kept"

    @property
    def is_commit(self) -> bool:
        return bool(self.collection)

    @property
    def removes(self) -> bool:
        """Whether all of the account's rows go."""
        return self.what in ("deleted", "reset")

    @property
    def uri(self) -> str:
        return f"at://{self.did}/{self.collection}/{self.rkey}"

    @property
    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.text)
        return found

    @property
    def logged(self) -> tuple[object, ...]:
        """The log's columns: did, kind, action, collection, rkey, rev, cid, record, time."""
        record = self.text.encode() if self.text else None
        if self.is_commit:
            return (self.did, "commit", self.what, self.collection, self.rkey, self.rev,
                    self.cid or None, record, self.time_us)  # fmt: skip
        kind, action = {
            "identity": ("identity", "refresh"),
            "reset": ("sync", "reset"),
            "unknown": ("unknown", "weather"),
        }.get(self.what, ("account", self.what))
        rev = self.rev or None
        return (self.did, kind, action, None, None, rev, None, record, self.time_us)

    def line(self) -> bytes:
        """The message as Jetstream sends it."""
        if self.what in ("garbage", "unknown"):
            return self.text.encode()
        kind = {"identity": "identity", "reset": "sync"}.get(self.what, "account")
        inner = self.text
        if self.is_commit:
            kind, inner = "commit", self._commit()
        head = f'"did":"{self.did}","time_us":{self.time_us},"kind":"{kind}"'
        return f'{{{head},"{kind}":{inner}}}'.encode()

    def _commit(self) -> str:
        parts = [f'"rev":"{self.rev}"', f'"operation":"{self.what}"',
                 f'"collection":"{self.collection}"', f'"rkey":"{self.rkey}"']  # fmt: skip
        if self.text:
            parts += [f'"record":{self.text}', f'"cid":"{self.cid}"']
        return "{" + ",".join(parts) + "}"
