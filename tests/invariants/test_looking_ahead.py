"""What was looked up ahead of a window's turn is never believed against the tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from events.event import Event
from projector.apply import TableWriter
from projector.database import APPLY_SETTINGS, Database
from projector.fold import Folded, Folder, Window
from projector.formation import Formation
from projector.statements import EDITS, live
from projector.windows import Probed, Step
from tests.support.clock import Clock
from tests.support.engine import DECLARATIONS, create
from tests.support.histories import LIKE, made

LIKES = next(d for d in DECLARATIONS if d.name == "like")
BEGIN_AT_ONCE = Step(0, 9, 1)


@pytest.fixture
async def writing(database: Database) -> AsyncIterator[asyncpg.Connection]:
    await create(database)
    connection = await database.connect("test", **APPLY_SETTINGS)
    yield connection
    await connection.close()


def folded_of(*events: Event) -> Folded:
    window = Window(0, 9, list(events), [])
    return Folder(LIKES).fold(window)


async def probed_and_written(
    writing: asyncpg.Connection, rival: Folded, mine: Folded, *, edits: bool
) -> tuple[TableWriter, Probed]:
    """What `mine` was probed to, before a rival wrote to the same tables."""
    writer = TableWriter(LIKES, live(LIKES, "bsky"))
    probed = await writer.probe(writing, mine)
    async with writing.transaction():
        await writer.write(writing, rival, 1)
        if edits:
            await writing.execute(
                "UPDATE projector.checkpoint SET edits = edits + 1 WHERE projection = 'like'"
            )
    return writer, probed


@pytest.mark.parametrize("edits", [True, False])
async def test_a_row_that_somebody_wrote_meanwhile_is_no_corruption(
    writing: asyncpg.Connection, edits: bool
) -> None:
    """With the edit counted it is looked up again; without, Postgres refuses the COPY first."""
    event = made(1, "create", LIKE)
    rival, mine = folded_of(event), folded_of(event)
    writer, probed = await probed_and_written(writing, rival, mine, edits=edits)
    assert probed.taken == set()
    applied = await writer.apply(writing, BEGIN_AT_ONCE, mine, probed)
    assert (applied.inserted, applied.deltas) == (0, 0)
    assert await writing.fetchval('SELECT count(*) FROM bsky."like"') == 1


async def test_a_delete_that_somebody_noted_meanwhile_is_not_undone(
    writing: asyncpg.Connection,
) -> None:
    """No constraint would show it: only the count of edits does."""
    mine = folded_of(made(1, "create", LIKE))
    rival = folded_of(made(2, "delete", LIKE))
    writer, probed = await probed_and_written(writing, rival, mine, edits=True)
    applied = await writer.apply(writing, BEGIN_AT_ONCE, mine, probed)
    assert applied.inserted == 0
    assert await writing.fetchval('SELECT count(*) FROM bsky."like"') == 0


async def test_the_edits_are_those_of_the_snapshot_that_was_searched(
    writing: asyncpg.Connection,
) -> None:
    writer = TableWriter(LIKES, live(LIKES, "bsky"))
    await writing.execute("UPDATE projector.checkpoint SET edits = 7 WHERE projection = 'like'")
    assert (await writer.probe(writing, folded_of(made(1, "create", LIKE)))).edits == 7
    assert await writing.fetchval(EDITS, "like") == 7


async def test_only_who_is_a_few_windows_ahead_and_far_from_the_head_waits() -> None:
    formation = Formation(100, Clock())
    formation.at("slow", 0)
    formation.at("fast", 100)
    held = asyncio.create_task(formation.hold("fast", 200, 10_000))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not held.done()
    await formation.hold("slow", 100, 10_000)
    await formation.hold("fast", 200, 200)
    formation.at("slow", 1)
    await held
    formation.at("fast", 401)
    await formation.hold("fast", 501, 10_000)


async def test_one_that_leaves_holds_nobody() -> None:
    formation = Formation(100, Clock())
    formation.at("gone", 0)
    formation.at("fast", 100)
    held = asyncio.create_task(formation.hold("fast", 200, 10_000))
    await asyncio.sleep(0)
    formation.left("gone")
    await held


@pytest.mark.parametrize(("took", "patience"), [(0.1, 1.0), (2.0, 6.0), (3600.0, 10.0)])
async def test_one_that_takes_much_longer_than_before_is_stuck_and_holds_nobody(
    took: float, patience: float
) -> None:
    clock = Clock()
    formation = Formation(100, clock)
    formation.at("stuck", 0)
    clock.now += took
    formation.at("stuck", 1)
    formation.at("fast", 101)
    clock.now += patience - 0.01
    held = asyncio.create_task(formation.hold("fast", 200, 10_000))
    for _ in range(3):
        await asyncio.sleep(0)
    assert not held.done()
    clock.now += 0.01
    await held
    await formation.hold("fast", 200, 10_000)


async def test_a_window_applied_meanwhile_decides_over_what_was_looked_up(
    writing: asyncpg.Connection,
) -> None:
    """Made and deleted in the first window, delivered again in the second: it stays deleted."""
    create_it, delete_it = made(1, "create", LIKE), made(2, "delete", LIKE)
    first, second = folded_of(create_it, delete_it), folded_of(create_it)
    assert (len(first.gone), len(second.fresh)) == (1, 1)
    writer = TableWriter(LIKES, live(LIKES, "bsky"))
    probed = await writer.probe(writing, second)
    await writer.apply(writing, BEGIN_AT_ONCE, first)
    writer.meanwhile(probed, first)
    applied = await writer.apply(writing, Step(9, 10, 1), second, probed)
    assert applied.inserted == 0
    assert await writing.fetchval('SELECT count(*) FROM bsky."like"') == 0


async def test_a_claim_may_be_one_column(database: Database) -> None:
    """One row an account: the first holds the claim, the second waits, and takes it over."""
    ddl = LIKES.ddl.replace("UNIQUE (subject, creator)", "UNIQUE (creator)")
    table = replace(LIKES.table, unique=("creator",))
    single = replace(LIKES, table=table, ddl=ddl)
    others = [d for d in DECLARATIONS if d.name not in ("like", "post_agg")]
    await create(database, [single, *others])
    connection = await database.connect("test", **APPLY_SETTINGS)
    writer, folder = TableWriter(single, live(single, "bsky")), Folder(single)
    steps = [
        made(1, "create", LIKE, rkey=1, subject=0),
        made(2, "create", LIKE, rkey=2, subject=1),
        made(3, "delete", LIKE, rkey=1),
    ]
    held = []
    for offset, event in enumerate(steps, 1):
        folded = folder.fold(Window(offset - 1, offset, [event], []))
        await writer.apply(connection, Step(offset - 1, offset, 1), folded)
        held.append([row[0][-2:] for row in await connection.fetch('SELECT uri FROM bsky."like"')])
    assert held == [["r1"], ["r1"], ["r2"]]
    await connection.close()
