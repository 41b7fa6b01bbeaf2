"""What the tests of the truth have in common: the truth of every account of a log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import asyncpg

from events.event import Event
from projector.declare import Projection
from projector.differences import Difference, differences, read_accounts
from projector.statements import live
from projector.truth import AccountTruth, Expected
from tests.support.harness import PROJECTIONS


def truths(events: Iterable[Event], projection: Projection) -> dict[str, Expected]:
    """What the tables must hold, by account."""
    by_did: defaultdict[str, list[Event]] = defaultdict(list)
    for event in events:
        by_did[event.did].append(event)
    return {
        did: AccountTruth(projection).eat_all(events).expected() for did, events in by_did.items()
    }


async def all_differences(
    connection: asyncpg.Connection, events: Sequence[Event], *, more: Sequence[str] = ()
) -> list[Difference]:
    """Where the tables differ from the truth, over all projections and accounts, and `more`."""
    found: list[Difference] = []
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        for projection in PROJECTIONS:
            must = truths(events, projection)
            dids = sorted({*must, *more})
            has = await read_accounts(connection, projection, live(projection, "bsky"), dids)
            for did in dids:
                expected = must.get(did, Expected())
                found += differences(projection, did, expected, has[did])
    return found
