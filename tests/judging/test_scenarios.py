"""Scenarios 22 to 34 of dataplane.md, section 8, by hand, in windows of one and in one window."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from events.event import Event, to_time_us
from tests.judging.quarrels import CREATED, cid_of, rule_of
from tests.judging.test_windows import in_windows
from tests.simulator.facts import FOLLOW, POST, POST_GATE, THREAD_GATE
from tests.support.court import Court
from tests.support.histories import BEGIN, CIDS, DIDS, tid

A, B, C, D = DIDS[:4]
NOTHING: dict[str, bool | None] = {}
BOTH = {"invalidReplyRoot": True, "violatesThreadGate": True}
INVALID = {"invalidReplyRoot": True, "violatesThreadGate": False}
FORBIDDEN = {"invalidReplyRoot": False, "violatesThreadGate": True}
REFUSED = {"violatesEmbeddingRules": True}
GATED = {"hasThreadGate": True}


def uri(did: str, rkey: str) -> str:
    return f"at://{did}/{POST}/{rkey}"


def said(did: str, rkey: str, record: dict[str, Any] | None, action: str = "create") -> Event:
    """An event, but for its place in time; a delete where there is no record."""
    collection = record["$type"] if record and "text" not in record else POST
    text = json.dumps(record | {"createdAt": CREATED}).encode() if record else None
    action, cid = (action, cid_of(text)) if text else ("delete", None)
    return Event(0, did, "commit", action, collection, rkey, None, cid, text, 0, "")


def post(
    did: str, rkey: str, root: str = "", parent: str = "", *, action: str = "create",
    quotes: str = "", mentions: str = "", cid: str = CIDS[0],
) -> Event:  # fmt: skip
    record: dict[str, Any] = {"$type": POST, "text": rkey}
    if root:
        record["reply"] = {"root": {"uri": root, "cid": cid},
                           "parent": {"uri": parent or root, "cid": cid}}  # fmt: skip
    if quotes:
        embedded = {"uri": quotes, "cid": CIDS[0]}
        record["embed"] = {"$type": "app.bsky.embed.record", "record": embedded}
    if mentions:
        feature = {"$type": "app.bsky.richtext.facet#mention", "did": mentions}
        record["facets"] = [{"index": {"byteStart": 0, "byteEnd": 1}, "features": [feature]}]
    return said(did, rkey, record, action)


def gate(*rules: str, rkey: str = "p1", action: str = "create") -> Event:
    allow = [rule_of(rule) for rule in rules]
    return said(A, rkey, {"$type": THREAD_GATE, "post": uri(A, rkey), "allow": allow}, action)


def open_gate() -> Event:
    return said(A, "p1", {"$type": THREAD_GATE, "post": uri(A, "p1")}, "update")


def post_gate() -> Event:
    disable = {"$type": "app.bsky.feed.postgate#disableRule"}
    record = {"$type": POST_GATE, "post": uri(A, "p1"), "embeddingRules": [disable]}
    return said(A, "p1", record)


def without(event: Event) -> Event:
    return msgspec.structs.replace(event, action="delete", record=None, cid=None)


P1, P2 = post(A, "p1"), post(A, "p2")
R1 = post(B, "r1", uri(A, "p1"))
S22 = [R1, P1]
S23 = [*S22, post(C, "r2", uri(A, "p1"), uri(B, "r1"))]
FOLLOWS_D = said(A, "f1", {"$type": FOLLOW, "subject": D})
S28 = [
    post(A, "p1", mentions=C), gate("mentionRule", "followingRule"), FOLLOWS_D,
    *(post(did, "r1", uri(A, "p1")) for did in (A, B, C, D)),
]  # fmt: skip
CLOSED = gate()
S30 = [CLOSED, post_gate(), P1, R1, post(B, "q", quotes=uri(A, "p1")),
       post(A, "q", quotes=uri(A, "p1"))]  # fmt: skip

# What is said, the flags of each post that are not NULL, and how many replies count.
Scenario = tuple[list[Event], dict[str, dict[str, bool | None]], dict[str, int]]
SCENARIOS: dict[str, Scenario] = {
    "22": (S22, {uri(B, "r1"): INVALID, uri(A, "p1"): NOTHING}, {uri(A, "p1"): 1}),
    "23": (S23, {uri(B, "r1"): INVALID, uri(C, "r2"): INVALID},
           {uri(A, "p1"): 1, uri(B, "r1"): 1}),
    "24": ([*S23, post(B, "r1", uri(A, "p1"), action="update", mentions=C)],
           {uri(B, "r1"): NOTHING, uri(C, "r2"): INVALID}, {uri(B, "r1"): 1}),
    "25": ([P1, P2, R1, post(B, "r2", uri(A, "p2"), uri(B, "r1")),
            post(B, "r3", uri(B, "r1"), uri(B, "r1")), post(B, "r4", uri(A, "p2"), uri(A, "p1"))],
           {uri(B, "r1"): NOTHING, **{uri(B, f"r{n}"): INVALID for n in (2, 3, 4)}},
           {uri(B, "r1"): 2, uri(A, "p1"): 2}),
    "26": ([P1, post(B, "r1", uri(A, "p1"), cid=CIDS[5])], {uri(B, "r1"): NOTHING},
           {uri(A, "p1"): 1}),
    "27": ([P1, without(P1), R1], {uri(B, "r1"): INVALID}, {uri(A, "p1"): 1}),
    "28": (S28, {uri(A, "p1"): GATED, uri(A, "r1"): NOTHING, uri(B, "r1"): FORBIDDEN,
                 uri(C, "r1"): NOTHING, uri(D, "r1"): NOTHING}, {uri(A, "p1"): 3}),
    "29": ([*S28, without(gate()), post(C, "r2", uri(A, "p1"), uri(B, "r1"))],
           {uri(A, "p1"): {"hasThreadGate": False}, uri(B, "r1"): FORBIDDEN,
            uri(C, "r2"): NOTHING}, {uri(A, "p1"): 3, uri(B, "r1"): 1}),
    "30": (S30, {uri(A, "p1"): NOTHING, uri(B, "r1"): FORBIDDEN, uri(B, "q"): REFUSED,
                 uri(A, "q"): NOTHING}, {uri(A, "p1"): 0}),
    "31": ([*S30, open_gate()], {uri(A, "p1"): GATED, uri(B, "r1"): FORBIDDEN}, {uri(A, "p1"): 0}),
    "32": ([P1, gate("unknownRule"), R1, post(A, "r1", uri(A, "p1"))],
           {uri(B, "r1"): FORBIDDEN, uri(A, "r1"): NOTHING}, {uri(A, "p1"): 1}),
    "33": ([CLOSED, post(D, "r1", uri(A, "p1"))], {uri(D, "r1"): BOTH}, {uri(A, "p1"): 0}),
    "34": ([P1, post(B, "q", quotes=uri(A, "p1")), post_gate()],
           {uri(B, "q"): NOTHING, uri(A, "p1"): {"hasPostGate": True}}, {}),
    "34, and without the gate": (
        [P1, post(B, "q", quotes=uri(A, "p1")), post_gate(), without(post_gate())],
        {uri(A, "p1"): {"hasPostGate": False}}, {}),
    # The rules of section 1.2.3, when the parent is the post itself, as it is now.
    "replies to themselves": (
        [P1, post(B, "r1", uri(B, "r1")), post(B, "r2", uri(A, "p1"), uri(B, "r2")),
         post(C, "r1", uri(A, "p1"), uri(B, "r1")), post(C, "r2", uri(A, "p1"), uri(B, "r2"))],
        {uri(B, "r1"): INVALID, uri(B, "r2"): NOTHING, uri(C, "r1"): INVALID,
         uri(C, "r2"): NOTHING}, {uri(B, "r1"): 2, uri(B, "r2"): 2}),
    "edited to replies to themselves": (
        [P1, post(B, "r1"), post(B, "r1", uri(B, "r1"), action="update"), post(B, "r2"),
         post(B, "r2", uri(A, "p1"), uri(B, "r2"), action="update")],
        {uri(B, "r1"): INVALID, uri(B, "r2"): NOTHING}, {uri(B, "r1"): 1, uri(B, "r2"): 1}),
}  # fmt: skip


def in_order(events: Sequence[Event]) -> list[Event]:
    return [
        msgspec.structs.replace(
            event, rev=tid(n), source_cursor=str(n),
            time_us=to_time_us(BEGIN + timedelta(seconds=n)),
        )
        for n, event in enumerate(events, 1)
    ]  # fmt: skip


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_comes_out_as_the_page_says(
    court: Court, runner: asyncio.Runner, name: str
) -> None:
    events, flags, replies = SCENARIOS[name]

    async def run() -> None:
        for sizes in ([1] * len(events), []):
            await court.begin(in_order(events))
            await in_windows(court, sizes)
            tables = await court.tables()
            posts = {row["uri"]: row for row in tables["post"]}
            for uri, expected in flags.items():
                found = {c: v for c, v in posts[uri].items()
                         if isinstance(v, bool)}  # fmt: skip
                assert found == expected, (uri, sizes)
            counts = {row["uri"]: row["replyCount"] for row in tables["post_agg"]}
            assert {uri: counts.get(uri, 0) for uri in replies} == replies

    runner.run(run())


def test_a_thread_with_its_gate_takes_one_window(court: Court, runner: asyncio.Runner) -> None:
    """What comes with its parents, its gate and its follows is judged without another window."""
    chain = [post(B, f"c{n}", uri(A, "p1"), uri(B, f"c{n - 1}") if n else "") for n in range(30)]

    async def run() -> None:
        await court.begin(in_order([*S28, *chain]))
        assert await in_windows(court, []) == 1
        # A gate that changes ends the window before the next reply that asks about it.
        await court.begin(in_order([*S28, open_gate(), post(B, "r9", uri(A, "p1"))]))
        assert await in_windows(court, []) > 1

    runner.run(run())
