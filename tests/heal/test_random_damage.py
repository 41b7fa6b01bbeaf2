"""Whatever is done to the tables by hand, healing all accounts brings back what the log says."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from projector.heal import heal
from projector.mend import Mender, Patch
from tests.heal.damage import Damage, damages, do
from tests.support.engine import DECLARATIONS
from tests.support.harness import AggregateHand, Stage
from tests.support.histories import DIDS, budget, deliveries
from tests.support.model import Model


async def healed(stage: Stage, *, dry_run: bool = False) -> list[Patch]:
    """Heals all accounts that the histories know."""
    mender = Mender(DECLARATIONS, "bsky")
    return [p async for p in heal(stage.prober, mender, DIDS, dry_run=dry_run)]


def summary(patches: list[Patch]) -> list[Any]:
    """What patches come to, without what was refused."""
    return [(p.accounts, p.changes, p.counters) for p in patches if p.differences]


@given(deliveries(40), damages, st.booleans())
@budget(30)
def test_healing_all_accounts_brings_back_what_the_log_says(
    stage: Stage,
    runner: asyncio.Runner,
    delivered: list[Event],
    done: list[Damage],
    merged: bool,
) -> None:
    async def example() -> None:
        await stage.begin(delivered)
        await stage.finish([5, 3])
        before = await stage.everything()
        assert await stage.tables() == Model(stage.log).tables()
        if not merged:
            # Again, and leave the deltas of the second half in the outbox.
            await half_merged(stage, delivered)
        for damage in done:
            await do(stage.admin, damage)
        shown = await healed(stage, dry_run=True)
        first = await healed(stage)
        assert bool(summary(first)) == bool(summary(shown))
        await stage.assert_counts_are_exact()
        assert summary(await healed(stage)) == []
        for hand in stage.hands:
            while isinstance(hand, AggregateHand) and await hand.step(0):
                await stage.assert_counts_are_exact()
        assert await stage.everything() == before
        assert await stage.tables() == Model(stage.log).tables()

    runner.run(example())


async def half_merged(stage: Stage, delivered: list[Event]) -> None:
    await stage.begin(delivered)
    for hand in stage.hands:
        hand.checkpoint = None
        steps = 0
        while await hand.step(3):
            steps += 1
            if isinstance(hand, AggregateHand) and steps > 2:
                break
