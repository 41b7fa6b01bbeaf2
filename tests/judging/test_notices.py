"""Whom posts notify: section 5 of dataplane.md, by hand and at random, in windows of any sizes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from tests.judging.test_scenarios import (
    P1,
    R1,
    S22,
    S28,
    S30,
    A,
    B,
    C,
    D,
    in_order,
    post,
    said,
    uri,
    without,
)
from tests.judging.test_windows import assert_as_judged, in_windows, windows
from tests.simulator.facts import POST, THREAD_GATE
from tests.support.court import Court
from tests.support.histories import DIDS, budget, long_lists

NAMES = dict(zip(DIDS, "ABCDEF", strict=True))
HANDLE = f"at://somebody.test/{POST}/p"


def hiding(*hidden: str, action: str = "create") -> Event:
    record = {"$type": THREAD_GATE, "post": uri(A, "p1"), "hiddenReplies": list(hidden)}
    return said(A, "p1", record, action)


def under(did: str, rkey: str, parent: str, **more: Any) -> Event:
    """A reply in the thread of A's p1."""
    return post(did, rkey, uri(A, "p1"), parent, **more)


def gone(did: str) -> Event:
    return Event(0, did, "account", "deleted", None, None, None, None, b"{}", 0, "")


R2 = under(C, "r2", uri(B, "r1"))
CHAIN = [P1, *(under(DIDS[n], "r1", uri(DIDS[n - 1], "r1" if n > 1 else "p1"))
               for n in range(1, 6))]  # fmt: skip
TOLD_OF_CHAIN = [
    f"{NAMES[DIDS[above]]} reply {NAMES[DIDS[n]]}/r1 {NAMES[DIDS[above]]}/{'r1' if above else 'p1'}"
    for n in range(1, 6)
    for above in range(max(0, n - 4), n)
]
R3 = under(D, "r3", uri(C, "r2"))

# What is said, and who is told: the account, the reason, of which post, and about which.
SCENARIOS: dict[str, tuple[list[Event], list[str]]] = {
    "a mention, once, and never of the author": (
        [post(B, "q", mentions=C), post(C, "q", mentions=C)], ["C mention B/q"]),
    "the first reason counts": (
        [P1, post(B, "r1", uri(A, "p1"), mentions=A, quotes=uri(A, "p1"))], ["A mention B/r1"]),
    "a quote before a reply": (
        [P1, post(B, "r1", uri(A, "p1"), quotes=uri(A, "p9"))], ["A quote B/r1 A/p9"]),
    "a quote of whom a handle names": (
        [post(B, "q", quotes=HANDLE)], ["somebody.test quote B/q somebody.test/p"]),
    "28": (S28, ["A reply C/r1 A/p1", "A reply D/r1 A/p1", "C mention A/p1"]),
    "30": (S30, []),
    "48, of six": (CHAIN, TOLD_OF_CHAIN),
    "49": ([P1, R1, hiding(uri(B, "r1")), R2], ["A reply B/r1 A/p1", "B reply C/r2 B/r1"]),
    "49, no longer hidden": (
        [P1, hiding(uri(B, "r1")), R1, hiding(action="update"), R2],
        ["A reply B/r1 A/p1", "A reply C/r2 A/p1", "B reply C/r2 B/r1"]),
    "23": ([*S22, R2], ["A reply C/r2 A/p1", "B reply C/r2 B/r1"]),
    "a parent that comes late tells nobody of what was there": (
        [P1, R2, R1], ["A reply B/r1 A/p1"]),
    "nor of what is hidden": (
        [P1, R1, hiding(uri(B, "r1")), R3, R2], ["A reply B/r1 A/p1", "B reply C/r2 B/r1"]),
    "an edit tells anew, of what is there now": (
        [R2, P1, R1, under(C, "r2", uri(B, "r1"), action="update", mentions=D)],
        ["A reply B/r1 A/p1", "A reply C/r2 A/p1", "B reply C/r2 B/r1", "D mention C/r2"]),
    "an edit takes back": ([P1, R1, post(B, "r1", action="update")], []),
    "a delete takes back": ([P1, R1, R2, without(R1)],
                            ["A reply C/r2 A/p1", "B reply C/r2 B/r1"]),
    "who is above goes, and is still told": ([P1, R1, without(P1)], ["A reply B/r1 A/p1"]),
    "an account goes with what it told": (
        [P1, R1, R2, gone(B)], ["A reply C/r2 A/p1", "B reply C/r2 B/r1"]),
    "nothing is above where an account went": ([P1, R1, gone(B), R2], []),
    "a thread that leads back": (
        [P1, under(B, "r1", uri(C, "r2")), under(C, "r2", uri(B, "r1")),
         under(B, "r1", uri(C, "r2"), action="update", mentions=D)],
        ["B reply C/r2 B/r1", "C reply B/r1 C/r2", "D mention B/r1"]),
    "nor to what it said before": (
        [P1, under(D, "r3", uri(A, "p1")), under(B, "r1", uri(D, "r3")), R2,
         under(B, "r1", uri(C, "r2"), action="update")],
        ["A reply C/r2 A/p1", "A reply D/r3 A/p1", "B reply C/r2 B/r1", "C reply B/r1 C/r2",
         "D reply C/r2 D/r3"]),
    "a reply to itself": ([under(B, "r1", uri(B, "r1"))], []),
}  # fmt: skip


def short(text: object) -> str:
    """A/p1 for A's post p1."""
    for did, name in NAMES.items():
        text = str(text).replace(did, name)
    return str(text).removeprefix("at://").replace(f"/{POST}", "")


@pytest.mark.parametrize("name", SCENARIOS)
def test_who_is_told(court: Court, runner: asyncio.Runner, name: str) -> None:
    events, expected = SCENARIOS[name]

    async def run() -> None:
        for sizes in ([1] * len(events), []):
            await court.begin(in_order(events))
            await in_windows(court, sizes)
            found = [
                " ".join([short(row[c]) for c in ("did", "reason", "recordUri", "reasonSubject")
                          if row[c] is not None])
                for row in (await court.tables())["notification"]
                if f"/{POST}/" in str(row["recordUri"])
            ]  # fmt: skip
            assert sorted(found) == sorted(expected), sizes
            await assert_as_judged(court)

    runner.run(run())


Draw = tuple[str, int, int, int]
"""What is done to a post of the thread, which, what it replies to, and which replies are hidden."""

draws = st.tuples(
    st.sampled_from((*("create",) * 8, "update", "delete", "hide")),
    st.integers(0, 8),
    st.integers(0, 8),
    st.integers(0, 511),
)


def place(n: int) -> tuple[str, str]:
    """The account and the record key of a post; the first is that of the thread."""
    return (DIDS[n % 6], f"r{n}") if n else (A, "p1")


def event_of(draw: Draw, hidden_before: bool) -> Event:
    what, n, parent, hidden = draw
    if what == "hide":
        uris = [uri(*place(i)) for i in range(9) if hidden & 1 << i]
        return hiding(*uris, action="update" if hidden_before else "create")
    made = under(*place(n), uri(*place(parent))) if n else post(A, "p1", action="create")
    if what == "delete":
        return without(made)
    return made if what == "create" else under(*place(n), uri(*place(parent)), action="update")


def thread(drawn: Sequence[Draw]) -> list[Event]:
    """A thread of one gate, whose replies come in a row, or in any order."""
    row = [("create", n, max(n - 1, 0), 0) for n in range(4)]
    events, hides = [], False
    for draw in (*row, *drawn):
        events.append(event_of(draw, hides))
        hides = hides or draw[0] == "hide"
    return in_order(events)


@budget(40)
@given(drawn=long_lists(draws, 25), sizes=windows)
def test_of_a_thread_those_are_told_whom_the_naive_judge_names(
    court: Court, runner: asyncio.Runner, drawn: list[Draw], sizes: list[int]
) -> None:
    async def run() -> None:
        for size in (sizes, []):
            await court.begin(thread(drawn))
            await in_windows(court, size)
            await assert_as_judged(court)

    runner.run(run())
