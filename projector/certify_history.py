"""Made-up histories of one collection, from records of it: what a firehose does to a projection.

Of each repo revisions rise strictly. Keys that live are created again, and such that do not are
updated and deleted; accounts go, come back and begin anew; some records are invalid. Pure: the
same seed makes the same history.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from random import Random
from typing import Final

from events.event import Event
from events.generate.ids import dids, record_cid, tid

ACCOUNTS: Final = 6
KEYS: Final = 8
"""How many record keys an account has."""
POOL: Final = 8
"""How many records there are to choose from: few, so that claims are contested."""
START_US: Final = 1_782_864_000_000_000
STEPS_US: Final = (0, 0, 1_000, 1_000, 7_000, 1_000_000, -1_000)
ACTIONS: Final = ("create",) * 8 + ("update",) * 3 + ("delete",) * 5
OTHERS: Final = (
    ("account", "deleted"), ("account", "active"), ("account", "takendown"), ("sync", "reset"),
    ("identity", "refresh"),
)  # fmt: skip
INVALID: Final = (b"{}", b'{"$type":5}', b'{"createdAt":null,"subject":7}')
OTHERS_SHARE: Final = 0.05
INVALID_SHARE: Final = 0.05
REPEATS: Final = 6


def accounts(seed: int) -> list[str]:
    """The accounts of a seed's history."""
    return dids(seed, ACCOUNTS)


def made_up(collection: str, records: Sequence[bytes], seed: int, events: int) -> list[Event]:
    """The facts of a seed, in the order in which they happened."""
    random = Random(seed)
    pool = random.sample(list(records), min(POOL, len(records)))
    names = accounts(seed)
    time_us = START_US
    facts = []
    for number in range(1, events + 1):
        time_us += random.choice(STEPS_US)
        did = random.choice(names)
        if random.random() < OTHERS_SHARE:
            kind, action = random.choice(OTHERS)
            inner = b'{"did":"%s","n":%d}' % (did.encode(), number)
            facts.append(
                Event(0, did, kind, action, None, None, None, None, inner, time_us, str(number))
            )
            continue
        action = random.choice(ACTIONS)
        record = None if action == "delete" else random.choice(pool)
        if record is not None and random.random() < INVALID_SHARE:
            record = random.choice(INVALID)
        cid = None if record is None else record_cid(record)
        rkey, rev = tid(START_US + random.randrange(KEYS), "22"), tid(START_US + number, "22")
        facts.append(
            Event(
                0, did, "commit", action, collection, rkey, rev, cid, record, time_us, str(number)
            )
        )
    return facts


def delivered(facts: Sequence[Event], seed: int) -> list[Event]:
    """The facts with repeats among them, as from a source that rewinds: single events, what one
    repo did of late, or everything since a moment."""
    random = Random(seed + 1)
    places = sorted(random.randrange(len(facts)) for _ in range(REPEATS))
    log: list[Event] = []
    for place, fact in enumerate(facts):
        log.append(fact)
        for _ in range(places.count(place)):
            again = list(facts[random.randrange(place + 1) : place + 1])
            what = random.choice(("one", "repo", "all"))
            if what == "repo":
                again = [event for event in again if event.did == again[0].did]
            log += again[:1] if what == "one" else again
    return log


def interleaved(facts: Sequence[Event], seed: int) -> list[Event]:
    """The facts in another order: that of each account is kept, that between them is not."""
    random = Random(seed + 2)
    queues: defaultdict[str, deque[Event]] = defaultdict(deque)
    for fact in facts:
        queues[fact.did].append(fact)
    order = []
    while queues:
        did = random.choice(sorted(queues))
        order.append(queues[did].popleft())
        if not queues[did]:
            del queues[did]
    return order
