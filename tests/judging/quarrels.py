"""Random histories of three accounts that reply, quote, follow, list and close threads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from events.event import Event, to_time_us
from tests.simulator.facts import FOLLOW, ITEM, POST, POST_GATE, THREAD_GATE
from tests.support.histories import BEGIN, CIDS, DIDS, delivered, long_lists, repeats, tid

CREATED = "2026-07-04T11:59:59.999Z"
RULE = f"{THREAD_GATE}#"
RULES = ("mentionRule", "followerRule", "followingRule", "listRule", "unknownRule")


@dataclass(frozen=True, slots=True)
class Said:
    """One draw: who did what to which of their keys; `one` and `other` say the content."""

    account: int
    what: str
    collection: str
    rkey: int
    one: int
    other: int


acts = st.builds(
    Said,
    account=st.integers(0, 2),
    what=st.sampled_from(("create",) * 9 + ("update", "delete")),
    collection=st.sampled_from(
        (POST,) * 8 + (THREAD_GATE,) * 4 + (POST_GATE,) * 2 + (FOLLOW, ITEM)
    ),
    rkey=st.sampled_from((0, 0, 1, 2, 3)),
    one=st.sampled_from(range(32)),
    other=st.sampled_from(range(32)),
)
removals = st.builds(
    Said, st.integers(0, 2), st.just("deleted"), st.just(""), st.just(0), st.just(0), st.just(0)
)


def quarrels(size_max: int = 40) -> st.SearchStrategy[list[Event]]:
    """What a source that rewinds delivers of such a history."""
    one = st.one_of(*(acts,) * 60, removals)
    facts = st.builds(facts_of, long_lists(one, size_max), st.integers(0, 31), st.integers(0, 31))
    return st.builds(delivered, facts, repeats)


def facts_of(said: Sequence[Said], one: int, other: int) -> list[Event]:
    """The events of the draws, after a post of each account and gates of two."""
    opening = [Said(account, "create", POST, 0, 0, account) for account in range(3)]
    opening += [Said(0, "create", kind, 0, one, other | 1) for kind in (THREAD_GATE, POST_GATE)]
    opening += [Said(1, "create", THREAD_GATE, 0, other, one | 1)]
    return [event_of(each, number) for number, each in enumerate((*opening, *said), 1)]


def event_of(said: Said, number: int) -> Event:
    did = DIDS[said.account]
    time_us = to_time_us(BEGIN + timedelta(milliseconds=number))
    if said.what == "deleted":
        inner = b'{"did":"%s","n":%d}' % (did.encode(), number)
        return Event(
            0, did, "account", "deleted", None, None, None, None, inner, time_us, str(number)
        )
    record = cid = None
    if said.what != "delete":
        record = json.dumps(record_of(said, did)).encode()
        cid = cid_of(record)
    return Event(0, did, "commit", said.what, said.collection, f"r{said.rkey}", tid(number), cid,
                 record, time_us, str(number))  # fmt: skip


def cid_of(record: bytes) -> str:
    """A CID that is another for each content, and well-formed."""
    digits = hashlib.sha256(record).hexdigest()[:40]
    return "bafyrei" + digits.translate(str.maketrans("0189", "ghij")).ljust(51, "a") + "a"


def post_uri(number: int) -> str:
    """One of six posts: of three accounts, the first two of each."""
    return f"at://{DIDS[number % 3]}/{POST}/r{number // 3 % 2}"


def record_of(said: Said, did: str) -> dict[str, Any]:
    one, other = said.one, said.other
    record: dict[str, Any] = {"$type": said.collection, "createdAt": CREATED}
    own = f"at://{did}/{POST}/r{said.rkey}"
    match said.collection:
        case "app.bsky.graph.follow":
            record["subject"] = DIDS[one % 3]
        case "app.bsky.graph.listitem":
            record |= {"subject": DIDS[one % 3], "list": f"at://{did}/app.bsky.graph.list/l"}
        case "app.bsky.feed.threadgate":
            record["post"] = own
            if other % 2:
                record["allow"] = [rule_of(name) for at, name in enumerate(RULES) if one & 1 << at]
            elif other % 8:
                record["allow"] = []
            if (one + other) % 3:
                record["hiddenReplies"] = [post_uri(n) for n in (one, other, one + other, one)]
        case "app.bsky.feed.postgate":
            record["post"] = own
            if one % 3:
                disabled = {"$type": "app.bsky.feed.postgate#disableRule"}
                record["embeddingRules"] = [disabled]
        case _:
            record |= post_of(one, other)
    return record


def rule_of(name: str) -> dict[str, str]:
    rule = {"$type": RULE + name}
    return rule | {"list": f"at://{DIDS[0]}/app.bsky.graph.list/l"} if name == "listRule" else rule


def post_of(one: int, other: int) -> dict[str, Any]:
    post: dict[str, Any] = {"text": f"{one} {other}"}
    if one % 3:
        root, parent = post_uri(one), post_uri(one if other % 4 > 1 else other)
        post["reply"] = {"root": {"uri": root, "cid": CIDS[0]},
                         "parent": {"uri": parent, "cid": CIDS[0]}}  # fmt: skip
    if other % 5 == 0:
        quoted = {"uri": post_uri(other), "cid": CIDS[0]}
        post["embed"] = {"$type": "app.bsky.embed.record", "record": quoted}
    if other % 2:
        mention = {"$type": "app.bsky.richtext.facet#mention", "did": DIDS[other % 3]}
        post["facets"] = [{"index": {"byteStart": 0, "byteEnd": 1}, "features": [mention]}]
    return post
