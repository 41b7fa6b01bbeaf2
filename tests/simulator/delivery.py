"""What a source delivers of a history: the facts in order, with repeats among them."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.simulator.facts import Fact


def rewound(facts: Sequence[Fact], seed: int, rewinds: int = 6) -> list[Fact]:
    """The facts, with rewinds among them: of everything, of one repo, of one message.

    A single message is not repeated from before its account was removed, nor is the removal: what
    a removed account did may be done anew, so a repeat of it alone says something else.
    """
    rng = random.Random(f"delivery {seed}")
    after: dict[int, list[str]] = {}
    for _ in range(rewinds):
        kind = rng.choice(("all", "repo", "repo", "one", "one"))
        after.setdefault(rng.randrange(len(facts)), []).append(kind)
    log: list[Fact] = []
    for place, fact in enumerate(facts):
        log.append(fact)
        for kind in after.get(place, ()):
            log += _again(facts[: place + 1], kind, rng)
    return log


def twice(facts: Sequence[Fact]) -> list[Fact]:
    """All of it, and then all of it once more, as from a host that lost our place."""
    return [*facts, *facts]


def _again(facts: Sequence[Fact], kind: str, rng: random.Random) -> list[Fact]:
    since = len(facts) - 1 - min(int(rng.expovariate(1 / 60)), len(facts) - 1)
    if kind == "all":
        return list(facts[since:])
    repo = [fact for fact in facts[since:] if fact.did == facts[since].did]
    if kind == "repo":
        return repo
    return [] if any(fact.removes for fact in repo) else repo[:1]


def lines(facts: Sequence[Fact]) -> bytes:
    """The facts as a file of JSON lines."""
    return b"".join(fact.line() + b"\n" for fact in facts)
