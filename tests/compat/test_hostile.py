"""What nobody should send, and what was really sent: all is passed, and nothing stops the loop."""

from __future__ import annotations

import asyncio

from events.event import Event
from events.jetstream_wire import JetstreamDecoder
from tests.compat.casting import Play, facets, rule
from tests.compat.stage import ReferenceStage, append, event_of
from tests.support.corpus import firehose_lines, hostile_inputs

CHAT = "chat.bsky.actor.declaration"
POST = "app.bsky.feed.post"


def test_the_corpora_are_passed(reference: ReferenceStage, runner: asyncio.Runner) -> None:
    decoder = JetstreamDecoder()
    decoded = [decoder.decode(raw) for raw in (*hostile_inputs().values(), *firehose_lines())]
    events = [event for event in decoded if isinstance(event, Event)]
    assert len(events) > 200

    async def run() -> None:
        await reference.begin()
        await append(reference.admin, events)
        await reference.catch_up(1000)
        assert reference.projector.checkpoint == len(events)
        assert len((await reference.tables())["record"]) > 100
        assert await reference.letters() != []

    runner.run(run())


def awkward(w: Play) -> None:
    """Records under the uri of what they only look like, and texts that no column takes."""
    like_a_post = {"$type": POST, "reply": 5, "facets": [7], "allow": 3, "hiddenReplies": None}
    looks = w.put(w.A, CHAT, like_a_post, "self")
    w.post(w.B, "r1", reply=looks)
    w.thread_gate(looks | {"uri": looks["uri"].replace(CHAT, POST)}, allow=[rule("mention")])
    w.post(w.B, "r2", reply=looks, facets=facets(w.C))
    w.post(w.B, "r3", text="\0" + "".join(map(chr, range(1, 32))))
    w.post(w.B, "r4", unknown=2**53)
    w.post(w.B, "r5", unknown="9" * 20)
    w.identity(w.A, "a\0.test")


def test_what_only_looks_like_another_is_not_taken_for_it(
    reference: ReferenceStage, runner: asyncio.Runner
) -> None:
    play = Play(0, "")
    awkward(play)
    events = [event_of(line) for line in play.lines]

    async def run() -> None:
        await reference.begin()
        await append(reference.admin, events)
        await reference.catch_up(1000)
        tables = await reference.tables()
        assert {row["uri"].rpartition("/")[2] for row in tables["post"]} == {"r1", "r2", "r5"}
        refused = [events[offset - 1] for offset in await reference.letters()]
        assert [event.rkey or event.kind for event in refused] == ["r3", "r4", "identity"]

    runner.run(run())
