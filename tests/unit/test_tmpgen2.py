"""What happens in the generated firehose, by an account of its own, and what its records say."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import libipld
import pytest

from events.event import Event
from events.generate import Generator

TID = re.compile("[2-7a-j][2-7a-z]{12}").fullmatch
DID = re.compile("did:plc:[a-z2-7]{24}").fullmatch
SUBJECT_URI = re.compile(r"at://did:plc:[a-z2-7]{24}/app\.bsky\.feed\.[a-z]+/[a-z0-9]+").fullmatch
DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+02:00)").fullmatch
EDGES = {
    "app.bsky.feed.like",
    "app.bsky.feed.repost",
    "app.bsky.graph.follow",
    "app.bsky.graph.block",
    "app.bsky.graph.listitem",
}


@pytest.fixture(scope="module")
def events() -> list[Event]:
    return list(islice(Generator(2), 100_000))


@dataclass
class World:
    """An account of what exists, kept from the events alone."""

    number: int = 0
    live: dict[str, tuple[object, ...]] = field(default_factory=dict)
    groups: dict[tuple[object, ...], list[str]] = field(default_factory=dict)
    of_account: dict[str, set[str]] = field(default_factory=dict)
    born: dict[str, int] = field(default_factory=dict)
    undone: set[tuple[object, ...]] = field(default_factory=set)
    away: set[str] = field(default_factory=set)
    wiped: set[str] = field(default_factory=set)
    seen: Counter[str] = field(default_factory=Counter)

    def apply(self, event: Event) -> None:
        self.number += 1
        if event.kind == "account":
            self.account(event)
        if event.kind != "commit":
            return
        assert event.did not in self.away
        self.seen["comeback"] += event.did in self.wiped and event.action == "create"
        {"create": self.create, "update": self.update, "delete": self.delete}[event.action](event)

    def account(self, event: Event) -> None:
        self.seen[event.action] += 1
        (self.away.discard if event.action == "active" else self.away.add)(event.did)
        if event.removes_account:
            self.wiped.add(event.did)
            for uri in self.of_account.pop(event.did, set()):
                self.forget(uri)
                self.seen["wiped with the account"] += 1

    def create(self, event: Event) -> None:
        assert event.uri not in self.live
        assert event.record is not None
        record = json.loads(event.record)
        group: tuple[object, ...] = (event.uri,)
        if event.collection in EDGES:
            subject = json.dumps(record.get("subject")), record.get("list")
            group = (event.did, event.collection, *subject)
            self.seen[f"{event.collection} redone"] += group in self.undone
        members = self.groups.setdefault(group, [])
        members.append(event.uri)
        self.seen[f"{event.collection} {min(len(members), 4)} deep"] += 1
        self.live[event.uri] = group
        self.born[event.uri] = self.number
        self.of_account.setdefault(event.did, set()).add(event.uri)
        self.seen["reply"] += "reply" in record
        parent = (record.get("reply") or {}).get("parent", {})
        self.seen["reply to a post seen"] += parent.get("uri") in self.live
        self.seen[record.get("embed", {}).get("$type", "none")] += 1

    def update(self, event: Event) -> None:
        self.seen[f"{event.collection} updated"] += 1

    def delete(self, event: Event) -> None:
        if event.uri not in self.live:
            self.seen["delete of what was never seen"] += 1
            assert event.uri not in self.born or event.rkey == "self"
            return
        group = self.live[event.uri]
        members = self.groups[group]
        if len(members) > 1:
            role = "winner" if members[0] == event.uri else "loser"
            self.seen[f"{event.collection} {role} deleted"] += 1
        elif event.collection in EDGES:
            self.undone.add(group)
        self.seen["deleted at once"] += self.number - self.born[event.uri] < 100
        self.of_account[event.did].discard(event.uri)
        self.forget(event.uri)

    def forget(self, uri: str) -> None:
        self.groups[self.live.pop(uri)].remove(uri)


def test_everything_that_should_happen_happens(events: list[Event]) -> None:
    world = World()
    for event in events:
        world.apply(event)
    seen = world.seen
    for collection in ("feed.like", "feed.repost", "graph.follow"):
        name = f"app.bsky.{collection}"
        for what in ("2 deep", "3 deep", "4 deep", "winner deleted", "loser deleted", "redone"):
            assert seen[f"{name} {what}"] > 0, (name, what)
    assert seen["app.bsky.graph.follow 2 deep"] > 50
    assert seen["app.bsky.feed.like updated"] > 0 and seen["app.bsky.feed.post updated"] > 0
    assert seen["deleted"] > 2 and seen["comeback"] > 2 and seen["wiped with the account"] > 0
    for status in ("deactivated", "suspended", "takendown", "active"):
        assert seen[status] > 2, status
    assert seen["deleted at once"] > 100
    assert seen["reply"] == pytest.approx(0.4 * 11_400, rel=0.1)
    assert seen["reply to a post seen"] > 0.7 * seen["reply"]
    for kind in ("record", "images", "external", "video", "recordWithMedia"):
        assert seen[f"app.bsky.embed.{kind}"] > 20, kind
    bursts = Counter((event.did, event.collection) for event in events[:50_000])
    assert bursts.most_common(1)[0][1] > 9


def test_duplicates_come_verbatim_and_change_nothing() -> None:
    events = list(islice(Generator(duplicates=0.2), 60_000))
    once = list(dict.fromkeys((event.did, event.rev, event.record) for event in events))
    assert 1 - len(once) / len(events) == pytest.approx(0.2, abs=0.04)

    def end(stream: Iterable[Event]) -> dict[str, bytes | None]:
        rows: dict[str, bytes | None] = {}
        for event in stream:
            if event.removes_account:
                rows = {uri: row for uri, row in rows.items() if event.did not in uri}
            elif event.kind == "commit":
                rows[event.uri] = event.record
        return {uri: row for uri, row in rows.items() if row is not None}

    assert end(events) == end({event.source_cursor: event for event in events}.values())


# What its records say


def strong(ref: Any) -> bool:
    cid = ref["cid"]
    about = libipld.decode_cid(cid)
    return (
        (about["version"], about["codec"], about["hash"]["code"]) == (1, 0x71, 0x12)
        and len(cid) == 59
        and cid.startswith("bafyrei")
        and bool(SUBJECT_URI(ref["uri"]))
    )


def nothing_null(value: Any) -> bool:
    if isinstance(value, dict):
        return all(nothing_null(each) for each in value.values())
    if isinstance(value, list):
        return bool(value) and all(nothing_null(each) for each in value)
    return value is not None


def facet_fits(facet: Any, text: bytes) -> bool:
    span = text[facet["index"]["byteStart"] : facet["index"]["byteEnd"]]
    return len(span) == facet["index"]["byteEnd"] and text[len(span) :].startswith(b" ")


def is_post(record: Any) -> bool:
    text = record["text"]
    images = record.get("embed", {}).get("images", [{}])
    refs = [*record.get("reply", {}).values()]
    if record.get("embed", {}).get("$type") == "app.bsky.embed.record":
        refs.append(record["embed"]["record"])
    return (
        0 < len(text.encode()) <= 3000
        and len(text) <= 300
        and "\0" not in text
        and 1 <= len(images) <= 4
        and len(record.get("tags", [])) <= 8
        and set(record.get("langs", [])) <= {"en", "ja", "pt", "de", "es", "ko"}
        and all(facet_fits(facet, text.encode()) for facet in record.get("facets", []))
        and all(strong(ref) for ref in refs)
    )


CHECKS: dict[str, Callable[[Any], object]] = {
    "app.bsky.feed.post": is_post,
    "app.bsky.feed.like": lambda record: strong(record["subject"]),
    "app.bsky.feed.repost": lambda record: strong(record["subject"]),
    "app.bsky.graph.follow": lambda record: DID(record["subject"]),
    "app.bsky.graph.block": lambda record: DID(record["subject"]),
    "app.bsky.actor.profile": lambda record: len(record["displayName"]) <= 64,
}


def is_valid(event: Event) -> bool:
    assert event.record is not None
    try:
        record = json.loads(event.record)
        time = record.get("createdAt") or record["playedTime"]
        check = CHECKS.get(event.collection or "", lambda record: True)
        fits = record["$type"] == event.collection and DATETIME(time) and nothing_null(record)
        return bool(fits and check(record))
    except (KeyError, TypeError):
        return False


def test_records_are_valid_but_for_a_few(events: list[Event]) -> None:
    written = [event for event in events if event.kind == "commit" and event.record]
    for event in written[:20_000]:
        assert DID(event.did) and (event.rkey == "self" or TID(event.rkey or ""))
        assert strong({"cid": event.cid, "uri": "at://did:plc:" + "a" * 24 + "/app.bsky.feed.x/1"})
        record = json.loads(event.record or b"")
        compact = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
        assert (event.record or b"").startswith(b'{"$type":"') and next(iter(record)) == "$type"
        assert compact.encode() == event.record or b"\\u0000" in (event.record or b"")
    assert 2 <= sum(not is_valid(event) for event in written) <= 25
    many = [event for event in islice(Generator(invalid=0.1), 20_000) if event.record]
    invalid = sum(event.kind == "commit" and not is_valid(event) for event in many)
    assert invalid / 20_000 == pytest.approx(0.1, rel=0.1)
    none = islice(Generator(seed=5, invalid=0), 20_000)
    assert all(is_valid(event) for event in none if event.kind == "commit" and event.record)


def test_created_at_has_the_variety_of_the_network(events: list[Event]) -> None:
    forms = Counter[str]()
    for event in events:
        if event.kind == "commit" and event.record and b'"createdAt":"' in event.record:
            time = json.loads(event.record)["createdAt"]
            far = not time.startswith("2026")
            forms["far" if far else str(len(time)) + time[19:20] + time[-1:]] += 1
    total = sum(forms.values())
    assert forms["24.Z"] / total == pytest.approx(0.89, abs=0.01)
    assert forms["27.Z"] / total == pytest.approx(0.09, abs=0.01)
    assert {"29.0", "20ZZ", "28.Z", "30.Z", "far"} <= set(forms)
