"""What a probe keeps of what it hears, and how it compares; no server needed."""

from __future__ import annotations

from typing import Any

import msgspec

from events.event import Event
from projections.follow import follows
from projections.like import likes
from projections.post import posts
from projector.completeness import OTHERS, Share, bounded, percent
from projector.looked import LogPart, Looked, Told
from projector.probe import host_in, independent_upstream
from projector.seen import Seen
from tests.support.lines import tid
from tests.support.records import CID

LIKE, POST = "app.bsky.feed.like", "app.bsky.feed.post"


def event(
    number: int,
    *,
    action: str = "create",
    collection: str = POST,
    rkey: str = "r",
    did: str = "did:plc:a",
    record: dict[str, Any] | None = None,
    rev: str | None = None,
) -> Event:
    made = {"text": "x", "createdAt": "2026-01-01T00:00:00Z"} if record is None else record
    made = {"$type": collection, **made}
    json = None if action == "delete" else msgspec.json.encode(made)
    return Event(0, did, "commit", action, collection, rkey, tid(number) if rev is None else rev,
                 CID, json, number * 1_000_000)  # fmt: skip


def seen(*events: Event, commits_max: int = 1000) -> Seen:
    found = Seen([posts, follows, likes], commits_max)
    for each in events:
        found.add(each)
    return found


def looked(found: Seen, *told: Event, removed: dict[str, int] | None = None) -> Looked:
    """With a log that has these events, at offsets from 1 on."""
    part = LogPart(removed=removed or {})
    for offset, each in enumerate(told, 1):
        part.keys.add((each.uri, each.rev or "", each.action))
        part.told[each.uri].append(Told(offset, each.action, each.rev))
    return Looked(found, part)


def due(found: Looked, through: int = 100, refused: tuple[tuple[str, int], ...] = ()) -> set[str]:
    """The revisions of the commits whose rows are due in the table of posts."""
    return {commit.rev for commit in found.expected(posts, through, refused).values()}


def test_a_record_that_was_deleted_since_needs_no_row() -> None:
    create, update, delete = event(1), event(2, action="update"), event(3, action="delete")
    heard = seen(create, update, delete)
    assert due(looked(heard, create)) == {tid(1)}
    assert due(looked(heard, create, update)) == {tid(2)}
    assert due(looked(heard, update, create)) == {tid(2)}  # A repeat of what came before.
    assert due(looked(heard, create, update, delete)) == set()
    # What came after the listening is in the log alone.
    assert due(looked(seen(create), create, delete)) == set()
    assert due(looked(seen(create), create, update)) == set()


def test_a_row_is_due_only_where_the_event_was_applied_and_makes_one() -> None:
    create = event(1)
    found = looked(seen(create), create)
    assert due(found, through=0) == set()
    assert found.not_applied == {create.uri}
    assert due(found, refused=(("post", 1),)) == set()
    assert due(found, refused=(("like", 1),)) == {tid(1)}
    assert due(looked(seen(create), create, removed={"did:plc:a": 2})) == set()
    assert due(looked(seen(create), create, event(2), removed={"did:plc:a": 1})) == set()
    bad = event(1, record={"text": 7})
    assert due(looked(seen(bad), bad)) == set()
    nobody_keeps = event(1, collection="com.example.thing")
    assert due(looked(seen(nobody_keeps), nobody_keeps)) == set()


def test_shares_by_collection_and_host() -> None:
    a, b = event(1), event(2, rkey="s")
    like = event(3, collection=LIKE, did="did:plc:b",
                 record={"subject": {"uri": "at://did:plc:c/app.bsky.feed.post/3lb4rbqitunyc",
                                     "cid": CID}, "createdAt": "2026-01-01T00:00:00Z"})  # fmt: skip
    found = looked(seen(a, b, like), a, like)
    found.part.hosts["did:plc:b"] = "pds.example"
    rows = found.expected(posts, 100, ())
    found.found("post", rows, [])
    found.found("like", found.expected(likes, 100, ()), [like.uri])
    collections, hosts = found.shares()
    told = [(s.name, s.seen, s.missing, s.expected, s.missing_in_tables, s.missing_since)
            for s in collections]  # fmt: skip
    assert told == [(POST, 2, 1, 1, 1, 1.0), (LIKE, 1, 0, 1, 0, None)]
    assert {(s.name, s.seen, s.missing) for s in hosts} == {
        ("unknown", 2, 1),
        ("pds.example", 1, 0),
    }
    assert [(m.uri, m.missing_in) for m in found.samples()] == [(a.uri, "post"), (b.uri, "log")]


def test_memory_is_bounded_and_of_a_record_all_is_kept_or_nothing() -> None:
    heard = seen(
        *(event(n, rkey=f"r{n // 2}", action="update" if n % 2 else "create") for n in range(4000)),
        commits_max=500,
    )
    assert 100 < len(heard.commits) <= 500
    assert heard.one_in in (8, 16)
    by_uri: dict[str, int] = {}
    for uri, _, _ in heard.commits:
        by_uri[uri] = by_uri.get(uri, 0) + 1
    assert set(by_uri.values()) == {2}
    # What cannot be told from other commits is not looked for.
    assert seen(event(1, rev="")).commits == {}


def test_of_many_collections_the_worst_are_kept_by_themselves() -> None:
    shares = [Share(name=f"c{n:03d}", seen=n, missing=n == 7) for n in range(1, 201)]
    kept = bounded(shares)
    assert len(kept) == 101
    assert (kept[0].name, kept[1].name) == ("c007", "c200")
    assert (kept[-1].name, kept[-1].seen) == (OTHERS, sum(range(1, 102)) - 7)


def test_percentages_say_all_or_nothing_only_where_it_is() -> None:
    said = [percent(*pair) for pair in ((998, 1000), (9999, 10_000), (5, 5), (0, 5), (1, 20_000))]
    assert said == ["99.8 %", "more than 99.9 %", "100 %", "0.0 %", "0.005 %"]


def test_the_host_is_that_of_the_did_document() -> None:
    services = [
        {"id": "#x", "type": "Other", "serviceEndpoint": "https://other.example"},
        {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer",
         "serviceEndpoint": "https://morel.example/"},
    ]  # fmt: skip
    record = msgspec.json.encode({"did": "did:plc:a", "didDoc": {"service": services}})
    assert host_in(record) == "morel.example"
    for other in (b'{"handle": "a.test"}', b"nonsense", None, b'{"didDoc": 7}'):
        assert host_in(other) is None


def test_the_default_upstream_is_no_source() -> None:
    hosts = [f"wss://jetstream{n}.us-{c}.bsky.network/subscribe" for c in ("east", "west")
             for n in (1, 2)]  # fmt: skip
    assert independent_upstream(["jetstream"]) == hosts[3]
    assert independent_upstream([hosts[3], hosts[2]]) == hosts[1]
