"""Random histories of few accounts, subjects and keys, so that everything meets everything.

A history is what the network said, in order: `facts`. Of each repo revs rise strictly. What a
source delivers is the facts with repeats among them: `delivered`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from events.event import Event, to_time_us

T = TypeVar("T")

FOLLOW, LIKE, REPOST, POST = (
    "app.bsky.graph.follow",
    "app.bsky.feed.like",
    "app.bsky.feed.repost",
    "app.bsky.feed.post",
)
COLLECTIONS = (FOLLOW, LIKE, REPOST, POST)
DIDS = [f"did:plc:{name * 24}" for name in "abcdef"]
CIDS = [f"bafyrei{digit * 51}a" for digit in "234567"]
BLOB = f"bafkrei{'a' * 51}a"
BEGIN = datetime(2026, 7, 4, 12, tzinfo=UTC)
TID_DIGITS = "234567abcdefghijklmnopqrstuvwxyz"

INVALID: tuple[bytes, ...] = (
    b'{"$type":"%s"}',
    b'{"$type":"%s","createdAt":5,"subject":"x","text":"x"}',
    b'{"$type":"%s","createdAt":null}',
)


def budget(examples: int) -> settings:
    """So many examples, the same in every run; with HYPOTHESIS_PROFILE=long fifty times as many,
    new ones each time."""
    long = os.environ.get("HYPOTHESIS_PROFILE") == "long"
    return settings(
        max_examples=examples * 50 if long else examples,
        derandomize=not long,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def tid(number: int) -> str:
    """The number as a revision: 13 characters whose order is that of the numbers."""
    text = ""
    for _ in range(13):
        number, digit = divmod(number, 32)
        text = TID_DIGITS[digit] + text
    return text


@dataclass(frozen=True, slots=True)
class Happening:
    """One draw: who did what; what it comes to depends on what was before it."""

    account: int
    what: str
    collection: str
    rkey: int
    subject: int
    content: int
    milliseconds: int


ACTIONS = ("create",) * 8 + ("update",) * 3 + ("delete",) * 5
OTHERS = ("invalid", "invalid update", "deleted", "reset", "active", "identity", "unknown")

happenings = st.builds(
    Happening,
    account=st.integers(0, 3),
    what=st.sampled_from(ACTIONS + OTHERS),
    # More of one collection than of each other: claims are contested within one.
    collection=st.sampled_from((*COLLECTIONS, LIKE, LIKE, FOLLOW)),
    rkey=st.integers(0, 4),
    subject=st.integers(0, 1),
    content=st.integers(0, 1),
    milliseconds=st.sampled_from((0, 0, 1, 1, 7, 1000, -1)),
)


def histories(size_max: int = 60, *, odd_revs: bool = False) -> st.SearchStrategy[list[Event]]:
    """Facts of a few accounts, in order.

    More than a repo allows: keys that live are created again, and such that do not are updated
    and deleted. `odd_revs`: some events have no usable rev; else every commit has one.
    """
    rev = st.sampled_from((True, True, False)) if odd_revs else st.just(True)
    return long_lists(st.tuples(happenings, rev), size_max).map(facts_of)


def long_lists(elements: st.SearchStrategy[T], size_max: int) -> st.SearchStrategy[list[T]]:
    """Lists of up to that size, mostly long ones: left alone Hypothesis makes them of about six,
    and what it finds with a long one it shrinks to a short one."""
    short = st.lists(elements, min_size=1, max_size=size_max)
    return st.one_of(short, *(st.lists(elements, min_size=size_max // 2, max_size=size_max),) * 3)


def facts_of(draws: Sequence[tuple[Happening, bool]]) -> list[Event]:
    """The events that the draws stand for."""
    facts: list[Event] = []
    moment = BEGIN
    for number, (happening, has_rev) in enumerate(draws, 1):
        moment += timedelta(milliseconds=happening.milliseconds)
        event = event_of(happening, number, moment)
        if not has_rev:
            event = msgspec.structs.replace(event, rev=(None, "odd", "")[number % 3])
        facts.append(event)
    return facts


def event_of(happening: Happening, number: int, moment: datetime) -> Event:
    """The event of one draw, the `number`-th of its history."""
    did, time_us = DIDS[happening.account], to_time_us(moment)
    kind, action = "commit", happening.what.replace("invalid update", "update")
    if happening.what in OTHERS[2:]:
        kind = {"reset": "sync", "identity": "identity", "unknown": "unknown"}.get(
            action, "account"
        )
        inner = b'{"did":"%s","n":%d}' % (did.encode(), number)
        return Event(0, did, kind, action, None, None, None, None, inner, time_us, str(number))
    action = action.replace("invalid", "create")
    record = None if action == "delete" else record_of(happening)
    cid = None if action == "delete" else CIDS[happening.content + 2 * happening.subject]
    rkey = f"r{happening.rkey}"
    return Event(0, did, kind, action, happening.collection, rkey, tid(number), cid, record,
                 time_us, str(number))  # fmt: skip


def made(number: int, what: str, collection: str = LIKE, **more: int) -> Event:
    """The event by itself that is number so-and-so: its rev and its time are of that number."""
    fields = {"account": 0, "rkey": 0, "subject": 0, "content": 0} | more
    happening = Happening(what=what, collection=collection, milliseconds=0, **fields)
    return event_of(happening, number, BEGIN + timedelta(seconds=number))


def record_of(happening: Happening) -> bytes:
    """The record's JSON."""
    collection, content = happening.collection, happening.content
    if happening.what.startswith("invalid"):
        shape = INVALID[(happening.rkey + content) % len(INVALID)]
        return shape.replace(b"%s", collection.encode())
    record: dict[str, object] = {
        "$type": collection,
        # One before the events' time and one after it: sortAt is the smaller of the two.
        "createdAt": ("2026-07-04T11:59:59.999Z", "2026-07-05T00:00:00.000Z")[content],
    }
    ref = {"uri": f"at://{DIDS[happening.subject]}/{POST}/r{happening.subject}", "cid": CIDS[5]}
    if collection == FOLLOW:
        record["subject"] = DIDS[happening.subject]
    elif collection != POST:
        record["subject"] = ref
        if content:
            record["via"] = ref
    else:
        record["text"] = f"text {content}"
        if happening.subject:
            record["reply"] = {"root": ref, "parent": ref}
        if content:
            record["langs"] = ["en", "pt-BR"]
        if content or happening.subject:
            record["embed"] = embed_of(content, {"record": ref} if happening.subject else None)
    return json.dumps(record).encode()


def embed_of(images: int, quoted: dict[str, object] | None) -> dict[str, object]:
    """An embed of so many images, or of a post, or of both."""
    image = {"alt": "U+0000 is here: \0", "image": {"$type": "blob", "ref": {"$link": BLOB},
             "mimeType": "image/png", "size": 1}}  # fmt: skip
    media = {"$type": "app.bsky.embed.images", "images": [image] * images}
    if quoted is None:
        return media
    record = {"$type": "app.bsky.embed.record"} | quoted
    kind = "app.bsky.embed.recordWithMedia"
    return {"$type": kind, "record": record, "media": media} if images else record


@dataclass(frozen=True, slots=True)
class Repeat:
    """After fact `at` (a share of all): events delivered once more, from fact `since` on."""

    what: str
    at: float
    since: float


shares = st.floats(0, 1, exclude_max=True)
repeats = st.lists(
    st.builds(Repeat, st.sampled_from(("one", "one", "repo", "all")), shares, shares), max_size=5
)


def delivered(facts: Sequence[Event], wanted: Sequence[Repeat]) -> list[Event]:
    """The facts with repeats among them, as a source delivers them that rewinds.

    `all` and `repo` deliver a suffix of what there was, of everything or of one repo. `one`
    delivers one event again, verbatim; not one from before its account was removed, since what a
    removed account did may be done anew, and not the removal itself.
    """
    log: list[Event] = []
    by_place: dict[int, list[Repeat]] = {}
    for repeat in wanted:
        by_place.setdefault(int(repeat.at * len(facts)), []).append(repeat)
    for place, fact in enumerate(facts):
        log.append(fact)
        for repeat in by_place.get(place, ()):
            since = int(repeat.since * (place + 1))
            log += repeated(facts[: place + 1], since, repeat.what)
    return log


def repeated(facts: Sequence[Event], since: int, what: str) -> list[Event]:
    """What a repeat delivers, of the facts so far, from fact `since` on."""
    did = facts[since].did
    if what == "all":
        return list(facts[since:])
    repo = [fact for fact in facts[since:] if fact.did == did]
    if what == "repo":
        return repo
    return [] if any(fact.removes_account for fact in repo) else repo[:1]


def deliveries(size_max: int = 60) -> st.SearchStrategy[list[Event]]:
    """What a source that rewinds delivers of a random history."""
    return st.builds(delivered, histories(size_max), repeats)
