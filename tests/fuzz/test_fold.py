"""The fold and the tables under mutated histories: what the naive model says, in any windows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from tests.model.test_model import assert_as_the_model, windows
from tests.support.harness import Stage
from tests.support.histories import DIDS, budget, deliveries, tid

Mutation = tuple[float, str, float]
CHANGES = ("twice", "away", "other rev", "no rev", "later", "earlier", "other account", "delete",
           "removal", "update", "create", "garbage")  # fmt: skip
mutations = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True),
        st.sampled_from(CHANGES),
        st.floats(0, 1, exclude_max=True),
    ),
    min_size=1,
    max_size=12,
)
GARBAGE = (b"{}", b'{"createdAt":5}', b'{"createdAt":null,"text":"x"}')
HOUR_US = 3_600_000_000


def mutated(events: Sequence[Event], todo: Sequence[Mutation]) -> list[Event]:
    """The events with changes that no honest source makes, each to one of them."""
    history = list(events)
    for place, what, share in todo:
        if not history:
            return history
        at = int(place * len(history))
        if what == "twice":
            history.insert(int(share * (len(history) + 1)), history[at])
        elif what == "away":
            del history[at]
        else:
            history[at] = msgspec.structs.replace(history[at], **_changed(history[at], what, share))
    return history


def _changed(event: Event, what: str, share: float) -> dict[str, Any]:
    if what == "other account":
        return {"did": DIDS[int(share * 4)]}
    if what in ("later", "earlier"):
        return {"time_us": event.time_us + (HOUR_US if what == "later" else -HOUR_US)}
    if what == "removal":
        return {"kind": "account", "action": "deleted", "collection": None, "rkey": None,
                "rev": None, "cid": None}  # fmt: skip
    if event.kind != "commit":
        return {}
    if what == "other rev":
        return {"rev": tid(int(share * 70))}
    if what == "no rev":
        return {"rev": None}
    if what == "delete":
        return {"action": "delete", "record": None, "cid": None}
    if event.action == "delete":
        return {}
    if what == "garbage":
        return {"record": GARBAGE[int(share * len(GARBAGE))]}
    return {"action": what}


@budget(50)
@given(events=deliveries(), todo=mutations, sizes=windows)
def test_mutated_histories_make_the_tables_of_the_model(
    stage: Stage, runner: asyncio.Runner, events: list[Event], todo: list[Mutation],
    sizes: list[int],
) -> None:  # fmt: skip
    async def run() -> None:
        await stage.begin(mutated(events, todo))
        await stage.finish(sizes)
        await assert_as_the_model(stage)

    runner.run(run())
