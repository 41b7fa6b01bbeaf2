"""Daemons run a group as one: who owns it, who is behind, and what where one is not kept."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from projector.daemon import Daemon
from projector.database import Database
from projector.errors import SchemaMismatch
from projector.settings import Settings
from tests.golden.test_everything import cleaned
from tests.golden.test_golden import golden_events, lines_of
from tests.judging.test_scenarios import S28, in_order
from tests.judging.test_windows import FLAGS
from tests.support import engine
from tests.support.court import GROUP, TOGETHER
from tests.support.rebuilding import left_behind, rebuild

KEPT = [d for d in TOGETHER if d.name != "thread_gate"]
CHECKPOINTS = "SELECT DISTINCT log_offset FROM projector.checkpoint WHERE projection = ANY($1)"
DECIDED = " + ".join(f'count("{flag}")' for flag in FLAGS)


async def posts_of(database: Database) -> list[dict[str, Any]]:
    return [cleaned(row) for row in (await engine.tables_of(database, ["post"]))["post"]]


async def asked(database: Database, query: str, *values: object) -> list[Any]:
    connection = await database.connect("test asks")
    try:
        return [row[0] for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


async def decided(database: Database) -> int:
    """How many flags are not NULL."""
    (count,) = await asked(database, f"SELECT {DECIDED} FROM bsky.post")
    return int(count)


async def test_three_daemons_that_want_the_group_make_the_golden_posts(database: Database) -> None:
    await engine.create(database, TOGETHER)
    await engine.append(database, golden_events("posts"))
    settings = Settings(window_events_max=300, window_events_min=300, poll_seconds=0.05)
    daemons = [Daemon(database, TOGETHER, settings) for _ in range(3)]
    runs = [daemon.run(asyncio.Event(), until_caught_up=True) for daemon in daemons]
    await asyncio.wait_for(asyncio.gather(*runs), 120)
    golden = [cleaned(json.loads(line)) for line in lines_of("posts", "post")]
    assert await posts_of(database) == sorted(golden, key=lambda row: str(row["uri"]))
    assert len(await asked(database, CHECKPOINTS, GROUP.names)) == 1
    assert await engine.differences(database, TOGETHER) == []


@pytest.mark.parametrize("first", [1, 2, 4])
async def test_of_two_that_have_a_part_of_the_group_each_one_gets_all(
    database: Database, first: int
) -> None:
    """Whose connection was cut may find some of its leases taken, and take the others again."""
    await engine.create(database, TOGETHER)
    await engine.append(database, in_order(S28))
    settings = Settings(poll_seconds=0.05)
    daemons = [Daemon(database, TOGETHER, settings) for _ in range(2)]
    for place, name in enumerate(GROUP.names):
        assert await daemons[place >= first].keeper.take(f"projection {name}")
    runs = [daemon.run(asyncio.Event(), until_caught_up=True) for daemon in daemons]
    await asyncio.wait_for(asyncio.gather(*runs), 60)
    assert await asked(database, CHECKPOINTS, GROUP.names) == [len(S28)]


async def test_to_run_one_runs_its_group(database: Database) -> None:
    await engine.create(database, TOGETHER)
    await engine.append(database, in_order(S28))
    await engine.project(database, declarations=TOGETHER, only=["follow"])
    assert await asked(database, CHECKPOINTS, GROUP.names) == [len(S28)]
    assert await asked(database, CHECKPOINTS, ["like", "repost"]) == [0]
    assert await decided(database) == 3


async def test_who_is_new_catches_up_alone_and_a_rebuild_judges_what_was_before(
    database: Database,
) -> None:
    """Where one of the group is not kept nothing is judged."""
    events = in_order([*S28, *S28[-2:]])
    await engine.create(database, KEPT)
    await engine.append(database, events[: len(S28)])
    await engine.project(database, declarations=KEPT)
    assert await decided(database) == 0
    await engine.create(database, TOGETHER)
    await engine.append(database, events[len(S28) :])
    await engine.project(database, declarations=TOGETHER, window_events=2)
    assert await asked(database, CHECKPOINTS, GROUP.names) == [len(events)]
    assert await decided(database) == 0
    outcome = await rebuild(database, "post", declarations=TOGETHER)
    assert {d.difference.columns for d in outcome.comparison.row_differences} == {
        ("invalidReplyRoot", "violatesThreadGate"),
        ("hasThreadGate",),
        ("post_notice",),
    }
    assert await decided(database) == 3
    assert await left_behind(database) == []
    assert await engine.differences(database, TOGETHER) == []


async def test_who_is_judged_may_not_come_after_those_it_is_judged_by(database: Database) -> None:
    others = [d for d in TOGETHER if d in GROUP.others]
    await engine.create(database, others)
    await engine.append(database, in_order(S28))
    await engine.project(database, declarations=others)
    await engine.create(database, [GROUP.judged, *others])
    with pytest.raises(SchemaMismatch, match="behind follow, list_item, post_gate, thread_gate"):
        await engine.project(database, declarations=[GROUP.judged, *others])
    await rebuild(database, "post", declarations=[GROUP.judged, *others])
    assert await decided(database) == 3
    await engine.project(database, declarations=[GROUP.judged, *others])
