"""The scenarios of dataplane.md section 8 that the golden folder lacks, as steps.

A step is an event, or an SQL statement: what a user or an operator did by the AppView's own
interface. Left out: 67 (it is about the reference's queue, not about events), and 68 and 69 (they
are about CAR files, and none of our sources reads such).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from tests.peer.population import FEED, GRAPH
from tests.peer.world import Record, Ref, World

A, B, C = (f"did:plc:{letter * 24}" for letter in "abc")
PROFILE: Final = "app.bsky.actor.profile"
COMMIT: Final = "bafyreicqkujxixdlcphwgpoi2bltrtcxbshyydtu74eupubincmmlit4ry"
DAY: Final = timedelta(days=1)
HOUR: Final = timedelta(hours=1)
MILLISECOND: Final = timedelta(milliseconds=1)

Step = bytes | str
"""A Jetstream line, or SQL."""


@dataclass(frozen=True)
class Scenario:
    """`number` is that of section 8."""

    number: int
    name: str
    steps: list[Step]


class Stepping(World):
    """A world in which SQL may come between two events."""

    def __init__(self) -> None:
        super().__init__(seed=8)
        self.marks: list[tuple[int, str]] = []

    def sql(self, statement: str) -> None:
        """Comes after the events before."""
        self.marks.append((len(self.lines), statement))

    def steps(self) -> list[Step]:
        """All, in order."""
        steps: list[Step] = list(self.lines)
        for at, statement in reversed(self.marks):
            steps.insert(at, statement)
        return steps

    def post(self, did: str, rkey: str, *, update: bool = False, **more: object) -> Ref:
        """A post."""
        record: Record = {"text": rkey, **more}
        return self.put(did, FEED + "post", record, rkey, update=update)


def _reply(root: Ref, parent: Ref | None = None) -> Record:
    return {"root": root, "parent": parent or root}


def thread_mute(world: Stepping) -> None:
    """Who muted a thread is not told; an event that would tell nobody else is lost (46)."""
    root = world.post(A, "p1")
    world.sql(f"""INSERT INTO bsky.thread_mute ("rootUri", "mutedByDid", "createdAt")
                  VALUES ('{root["uri"]}', '{A}', '2025-03-01T12:00:00.000Z')""")
    world.post(B, "r1", reply=_reply(root))
    world.put(B, FEED + "like", {"subject": root}, "l1")
    facet = {"index": {"byteStart": 0, "byteEnd": 1}, "features": [
        {"$type": "app.bsky.richtext.facet#mention", "did": C}]}  # fmt: skip
    world.post(B, "r2", reply=_reply(root), facets=[facet])


def account_deleted(world: Stepping) -> None:
    """All that an account did, and what is left when it is deleted (58)."""
    world.identity(A, "a.test")
    world.identity(B, "b.test")
    of_b = world.post(B, "p1")
    world.put(A, PROFILE, {"displayName": "A"}, "self")
    world.put(A, GRAPH + "follow", {"subject": B}, "f1")
    world.put(A, GRAPH + "follow", {"subject": B}, "f2")
    world.put(B, GRAPH + "follow", {"subject": A}, "f1")
    world.put(A, FEED + "like", {"subject": of_b}, "l1")
    world.put(A, FEED + "repost", {"subject": of_b}, "r1")
    own = world.post(A, "p1")
    world.put(B, FEED + "like", {"subject": own}, "l1")
    world.post(A, "q1", embed={"$type": "app.bsky.embed.record", "record": of_b})
    world.post(A, "r1", reply=_reply(of_b))
    world.post(A, "r2", reply=_reply(own))
    made = {"name": "List", "purpose": "app.bsky.graph.defs#referencelist"}
    made_list = world.put(A, GRAPH + "list", made, "g1")["uri"]
    world.put(A, GRAPH + "starterpack", {"name": "Pack", "list": made_list}, "s1")
    told = {"subject": B, "handle": "b.test", "displayName": "B"}
    world.put(A, GRAPH + "verification", told, "v1")
    world.account(A, active=False, status="deleted")


def account_recreated(world: Stepping) -> None:
    """The same post is made again after its account was deleted (59)."""
    account_deleted(world)
    world.post(A, "p1", langs=["en"])


def status_of_the_unknown(world: Stepping) -> None:
    """A status comes before the account is known (60)."""
    world.account(A, active=False, status="deactivated")
    world.identity(A, "a.test")


def odd_statuses(world: Stepping) -> None:
    """Statuses that say nothing, or too little (61)."""
    world.identity(A, "a.test")
    world.account(A, active=False, status="deactivated")
    world.account(A, active=False, status="throttled")
    world.account(A, active=False)
    world.account(A, active=True, status="throttled")
    world.account(A, active=True)
    world.account(A, active=False, status="suspended")
    world.account(A, active=True, status="takendown")


def handle_due(world: Stepping) -> None:
    """When a handle is asked for again that no event told of (62)."""
    world.identity(A, "a.test")
    world.pass_time(DAY)
    world.refresh(A, "anew.test")
    world.pass_time(MILLISECOND)
    world.refresh(A, "anew.test")
    world.identity(B, "handle.invalid")
    world.pass_time(HOUR)
    world.refresh(B, "b.test")
    world.pass_time(MILLISECOND)
    world.refresh(B, "b.test")


def handle_contended(world: Stepping) -> None:
    """Two accounts have one handle, one after the other (63)."""
    world.identity(A, "Shared.test")
    world.identity(B, "shared.test")
    world.identity(A, "a.test")


def older_revision(world: Stepping) -> None:
    """A repo is seen at a revision before the one that it was seen at (64)."""
    world.repo(A, "3k2aaaaaaaaa2", COMMIT)
    world.repo(A, "3k1aaaaaaaaa2", COMMIT)


def taken_down(world: Stepping) -> None:
    """A record is taken down, edited, deleted and made again (65)."""
    made = world.post(A, "p1")
    world.sql(f"UPDATE bsky.record SET \"takedownRef\" = 'MOD' WHERE uri = '{made['uri']}'")
    world.post(A, "p1", langs=["en"], update=True)
    world.delete(made)
    world.post(A, "p1")


def handle_as_authority(world: Stepping) -> None:
    """A reply names its root by a handle (71)."""
    world.identity(A, "a.test")
    root = world.post(A, "p1")
    by_handle = {**root, "uri": root["uri"].replace(A, "a.test")}
    world.post(B, "r1", reply=_reply(by_handle, root))
    world.post(B, "q1", embed={"$type": "app.bsky.embed.record", "record": by_handle})


NUMBERED: Final[dict[int, Callable[[Stepping], None]]] = {
    46: thread_mute,
    58: account_deleted,
    59: account_recreated,
    60: status_of_the_unknown,
    61: odd_statuses,
    62: handle_due,
    63: handle_contended,
    64: older_revision,
    65: taken_down,
    71: handle_as_authority,
}


def scenarios() -> list[Scenario]:
    """All of them."""
    made = []
    for number, play in NUMBERED.items():
        world = Stepping()
        play(world)
        made.append(Scenario(number, play.__name__, world.steps()))
    return made


def readable(step: Step) -> Record:
    """The step as it is kept."""
    return {"sql": " ".join(step.split())} if isinstance(step, str) else {"event": json.loads(step)}
