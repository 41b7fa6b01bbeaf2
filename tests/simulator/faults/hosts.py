"""Faults of the websocket host."""

from __future__ import annotations

import json
from typing import cast

from tests.simulator.facts import POST
from tests.simulator.faults.fault import Disturbed, fault
from tests.simulator.faults.world import World, whole_facts
from tests.support.jetstream_server import Connection, Fault, time_us_of

MESSAGE_BYTES_MAX = 2 * 1024 * 1024
BACK_US = 20_000_000
LETTER = "SELECT count(*) FROM projector.dead_letter WHERE raw = $1"
REPEATED = 100
LATEST = 2_000
BACK = "its times went back by"
AHEAD = "ahead of our clock"


async def _befall(world: World, befalls: Fault, *said: str) -> str:
    """Ends the connection; the next one has the fault."""
    mark, host = world.mark(), world.host
    host.faults.insert(0, befalls)
    host.drop_all()

    async def struck() -> bool:
        return all(each is not befalls for each in host.faults)

    await world.see("nobody connected again", struck)
    count = len(host.connections)

    async def connected() -> bool:
        return len(host.connections) > count

    heard = await world.hear(mark, *said)
    await world.see("nobody connected once more", connected)
    return f"connection {count} was struck; {heard}"


@fault(
    "websocket-cut", does="the websocket is cut in the middle of a frame",
    seen="the host did it; the reader says that the connection was dropped, and connects again",
    holds="the half message is read again, whole",
)  # fmt: skip
async def websocket_cut(world: World) -> str:
    after = world.rng.randrange(30)
    said = "dropped the connection: no close frame"
    return await _befall(world, Fault(after=after, end="abort"), said)


@fault(
    "websocket-silent", does="the host says nothing any more, and keeps the connection",
    seen="the reader says so, and connects again", holds="nothing is lost",
)  # fmt: skip
async def websocket_silent(world: World) -> str:
    fault = Fault(after=world.rng.randrange(30), stall=True)
    return await _befall(world, fault, "said nothing for")


@fault(
    "websocket-refused", does="the host answers HTTP 503",
    seen="the reader says so, and connects again", holds="nothing is lost",
)  # fmt: skip
async def websocket_refused(world: World) -> str:
    return await _befall(world, Fault(refuse=503), "refuses: HTTP 503")


@fault(
    "websocket-repeating", does=f"the host begins {REPEATED} messages before what it is asked for",
    seen="the reader says how much earlier", holds="repeats stay out of the log",
)  # fmt: skip
async def websocket_repeating(world: World) -> str:
    befalls = Fault(ignore_cursor=REPEATED)
    return await _befall(world, befalls, "before what it was asked for")


@fault(
    "websocket-going-backwards",
    does="in the midst of a connection the host goes back by 20 seconds of its clock",
    seen="the reader says that the times went back", holds="repeats stay out of the log",
)  # fmt: skip
async def websocket_going_backwards(world: World) -> str:
    link, mark = await _fresh(world), world.mark()
    # Up to the very last that was sent: a host that goes back leaves nothing out when it goes on.
    sent = [f.line() for f in world.facts[max(world.served - LATEST, 0) : world.served]]
    times = [time_us_of(line) for line in sent]
    older = [n for n, at in enumerate(times) if 0 < at < max(times) - BACK_US]
    if not older:
        raise Disturbed("nothing so old was sent yet")
    again = sent[older[-1] :]
    world.host.append(*again)

    async def heard() -> bool:
        news = world.news(mark)
        if BACK not in news and (not link.open or AHEAD in news):
            raise Disturbed("the reader left, or has another clock")
        return BACK in news

    await world.see(f"nobody said {BACK!r}", heard)
    return f"{len(again)} messages again; a process said {BACK!r}"


async def _fresh(world: World) -> Connection:
    """A connection that was just made, and whose reader has all that was sent until then: of one
    connection it tells only once that its times went back, and of what it is behind with it may
    have none. What is sent all the while it never has all of."""
    host = world.host
    host.drop_all()
    count = len(host.connections)
    time_us = whole_facts(world.facts[: world.served])[-1].time_us

    async def live() -> Connection | None:
        link = host.live
        if link is None or link not in host.connections[count:]:
            return None
        return link if await world.feed_at() >= time_us else None

    return cast(Connection, await world.see("no reader comes to the end", live))


async def _buried(world: World, *messages: bytes) -> None:
    """Sends messages that are no facts, each of which has to be a dead letter."""
    for message in messages:
        raw = message[:MESSAGE_BYTES_MAX]
        world.oracle.strays.add(raw)
        world.host.append(message)

        async def kept(raw: bytes = raw) -> int:
            return await world.watch.count(LETTER, raw)

        await world.see(f"{raw[:40]!r} is no dead letter", kept)


@fault(
    "websocket-oversized", does="the host sends a message of more than the 2 MiB that are allowed",
    seen="it is a dead letter, cut off at the limit", holds="it is passed; what follows is read",
)  # fmt: skip
async def websocket_oversized(world: World) -> str:
    record = {"$type": POST, "text": "a" * (MESSAGE_BYTES_MAX + world.rng.randrange(1, 1000))}
    commit = {"rev": "3l3qo2vuowo2b", "operation": "create", "collection": POST,
              "rkey": "3l3qo2vutsw2b", "record": record, "cid": "bafy"}  # fmt: skip
    time_us = world.facts[world.served - 1].time_us
    told = {"did": "did:plc:" + 24 * "a", "time_us": time_us, "kind": "commit", "commit": commit}
    await _buried(world, json.dumps(told).encode())
    return f"a letter of {MESSAGE_BYTES_MAX} bytes"


@fault(
    "websocket-garbage", does="the host sends bytes that are no message: random ones, half a one",
    seen="each is a dead letter, byte for byte", holds="it is passed; what follows is read",
)  # fmt: skip
async def websocket_garbage(world: World) -> str:
    half = world.facts[world.served - 1].line()[:40]
    await _buried(world, world.rng.randbytes(200), half + world.rng.randbytes(4), b"")
    return "3 letters"
