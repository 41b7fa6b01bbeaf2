"""The simulator makes what it promises, and the same again from the same seed."""

from __future__ import annotations

from collections import Counter

import pytest

from events.event import Event, Skipped
from events.jetstream_wire import decode
from tests.simulator.court import FLAGS
from tests.simulator.delivery import rewound
from tests.simulator.facts import Fact
from tests.simulator.network import Network
from tests.simulator.oracle import KEPT, tables

SEEDS = range(1, 6)


def history(facts: list[Fact]) -> dict[str, list[str]]:
    """By record, what befell it."""
    found: dict[str, list[str]] = {}
    for fact in facts:
        if fact.is_commit:
            found.setdefault(fact.uri, []).append(fact.what)
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_makes_one_history_with_every_kind_of_event(seed: int) -> None:
    facts = Network(seed, 500).facts
    assert facts == Network(seed, 500).facts
    assert facts != Network(seed + 1, 500).facts
    assert len(facts) >= 500
    assert {"create", "update", "delete", "deleted", "active", "reset", "garbage"} <= {
        fact.what for fact in facts
    }
    assert {fact.fate for fact in facts} == {"kept", "invalid", "refused"}
    revs: dict[str, str] = {}
    for fact in facts:
        if fact.is_commit:
            assert fact.rev > revs.get(fact.did, "")
            revs[fact.did] = fact.rev
    assert [fact.time_us for fact in facts] == sorted(fact.time_us for fact in facts)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_wire_says_what_the_log_must_hold(seed: int) -> None:
    for fact in Network(seed, 500).facts:
        event = decode(fact.line())
        if fact.what == "garbage":
            assert not isinstance(event, (Event, Skipped))
            continue
        assert isinstance(event, Event), fact
        assert fact.logged == (event.did, event.kind, event.action, event.collection, event.rkey,
                               event.rev, event.cid, event.record, event.time_us)  # fmt: skip


def test_the_awkward_orders_are_there() -> None:
    networks = [Network(seed, 500) for seed in SEEDS]
    lives = [life for network in networks for life in history(network.facts).values()]
    assert any(life[:3] == ["create", "delete", "create"] for life in lives)
    assert any(life[:2] == ["delete", "create"] for life in lives)
    assert any(life[0] == "update" for life in lives)
    assert any(life.count("create") > 1 and "delete" not in life for life in lives)
    claims = Counter(
        (fact.did, fact.collection, fact.record["subject"]["uri"])
        for network in networks for fact in network.facts
        if fact.what == "create" and fact.fate == "kept" and "feed.like" in fact.collection
    )  # fmt: skip
    assert claims.most_common(1)[0][1] >= 5
    big = networks[0].accounts[1].did
    said = Counter(fact.did for fact in networks[0].facts if fact.what == "create")
    assert said.most_common(1)[0][0] == big
    assert any(fact.did == big and fact.what == "deleted" for fact in networks[0].facts)
    assert any(tables(network.facts)["duplicate_record"] for network in networks)


def test_every_table_has_rows_and_every_verdict_is_passed() -> None:
    found = [tables(Network(seed, 500).facts) for seed in range(1, 21)]
    for name in KEPT:
        assert any(each[name] for each in found), name
    posts = [row for each in found for row in each["post"]]
    for flag in FLAGS:
        assert any(row[flag] for row in posts), flag
    assert {row["reason"] for each in found for row in each["notification"]} == {
        "like", "like-via-repost", "repost", "repost-via-repost", "follow", "verified",
        "starterpack-joined", "mention", "quote", "reply",
    }  # fmt: skip
    assert any(row["deletedAt"] for each in found for row in each["op_thread_reply"])
    assert {row["upstreamStatus"] for each in found for row in each["actor"]} == {
        None, "takendown", "deactivated",
    }  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_a_delivery_has_all_facts_in_the_order_of_each_repo(seed: int) -> None:
    facts = Network(seed, 500).facts
    delivered = rewound(facts, seed)
    assert len(delivered) > len(facts)
    assert list(dict.fromkeys(delivered)) == facts
