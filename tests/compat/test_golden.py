"""The golden sets: every table that the AppView's own indexer made, column by column."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections import Counter
from collections.abc import Sequence

import pytest

from events.event import Event
from tests.compat.stage import ReferenceStage, append
from tests.golden.test_golden import SETS, golden_events
from tests.peer.tables import Tables, canonical, normal
from tests.support.shared import require_shared

SYNCED = 'SELECT did, "repoRev" FROM bsky.actor_sync'


def golden(name: str) -> Tables:
    """The golden tables."""
    folder = require_shared() / "golden" / name / "tables"
    return normal(
        {
            path.name.partition(".")[0]: [json.loads(line) for line in gzip.open(path)]
            for path in folder.iterdir()
        }
    )


def distinct(events: Sequence[Event]) -> list[Event]:
    """The events without verbatim redeliveries, of which the golden tables know nothing."""
    first = dict.fromkeys(events)
    return list(first)


@pytest.mark.parametrize("name", SETS)
def test_every_table_is_equal(reference: ReferenceStage, runner: asyncio.Runner, name: str) -> None:
    """Each event in a window, and a transaction, of its own."""
    events = distinct(golden_events(name))

    async def run() -> None:
        await reference.begin()
        await append(reference.admin, events)
        await reference.catch_up()
        await assert_golden(reference, name, events)

    runner.run(run())


async def assert_golden(stage: ReferenceStage, name: str, events: Sequence[Event]) -> None:
    """All tables are the golden ones, nothing was refused, and each repo's last revision noted."""
    found, expected = await stage.tables(), golden(name)
    assert found.keys() == expected.keys()
    for table, rows in expected.items():
        ours, theirs = (Counter(map(canonical, side)) for side in (found[table], rows))
        assert (ours - theirs, theirs - ours) == (Counter(), Counter()), table
    assert await stage.letters() == []
    revisions = {e.did: e.rev for e in events if e.kind == "commit"}
    assert {row[0]: row[1] for row in await stage.admin.fetch(SYNCED)} == revisions
