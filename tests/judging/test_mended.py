"""What was decided of posts, damaged: what heal leaves, what a rebuild finds and mends; and what
was decided up to an offset."""

from __future__ import annotations

import asyncio

from projector import derived
from projector.heal import heal
from projector.mend import Mender
from tests.judging.test_notices import R2
from tests.judging.test_scenarios import P1, R1, A, B, C, D, in_order, post, uri
from tests.judging.test_windows import in_windows
from tests.support.court import TOGETHER, TOLD, Court
from tests.support.rebuilding import as_of, left_behind, rebuild

EVENTS = [P1, R1, R2, post(B, "q", mentions=D)]
ALTER = "UPDATE bsky.post SET text = 'x' WHERE uri = $1"
LOSE = "DELETE FROM bsky.post WHERE uri = $1"
ADD = """
INSERT INTO bsky.post (uri, cid, creator, text, "createdAt", "indexedAt")
SELECT $1, cid, $2, text, "createdAt", "indexedAt" FROM bsky.post LIMIT 1
"""
ADD_NOTICE = """
INSERT INTO projector.post_notice (uri, did, reason, cid, "sortAt")
VALUES ($1, $2, 'mention', 'c', '2026')
"""
EARLIER = 'SELECT "recordUri", did FROM earlier.notification ORDER BY 1, 2'
LOSE_NOTICE = "DELETE FROM projector.post_notice WHERE uri = $1 AND did = $2"


async def healed(court: Court) -> int:
    """Heals everybody; returns how many differences there were."""
    patches = heal(court.prober, Mender(TOGETHER, "bsky"), [A, B, C, D], dry_run=False)
    return sum([len(patch.changes) async for patch in patches])


def test_heal_leaves_whom_a_post_has_notified(court: Court, runner: asyncio.Runner) -> None:
    """Of a row that is altered, or lost, the notices stay; those of a row that is none go."""

    async def run() -> None:
        await court.begin(in_order(EVENTS))
        await in_windows(court, [])
        before = await court.everything()
        await court.admin.execute(ALTER, uri(B, "r1"))
        await court.admin.execute(LOSE, uri(C, "r2"))
        await court.admin.execute(ADD, uri(D, "none"), D)
        await court.admin.execute(ADD_NOTICE, uri(D, "none"), A)
        assert await healed(court) == 3
        await in_windows(court, [])
        assert await court.everything() == before
        assert await healed(court) == 0
        await court.assert_counts_are_exact()

    runner.run(run())


def test_a_rebuild_finds_a_notice_that_was_lost(court: Court, runner: asyncio.Runner) -> None:
    async def run() -> None:
        await court.begin(in_order(EVENTS))
        await court.finish()
        before = await court.everything()
        assert len(before["notification"]) == 4
        await court.admin.execute(LOSE_NOTICE, uri(C, "r2"), A)
        (found,) = await derived.audit(court.auditor, [TOLD], "bsky")
        assert (found.key, found.stored, found.counted) == (uri(C, "r2"), 1, 0)
        dry = await rebuild(court.database, "post", declarations=TOGETHER, dry_run=True)
        (row,) = dry.comparison.row_differences
        assert (row.difference.uri, row.difference.columns) == (uri(C, "r2"), ("post_notice",))
        await rebuild(court.database, "post", declarations=TOGETHER)
        assert await court.everything() == before

    runner.run(run())


def test_as_of_an_offset_whom_posts_had_notified(court: Court, runner: asyncio.Runner) -> None:
    """By what was decided up to then, and not by what is live."""

    async def run() -> None:
        await court.begin(in_order(EVENTS))
        await court.finish()
        await as_of(court.database, 2, "earlier", "notification", declarations=TOGETHER)
        found = [tuple(row) for row in await court.auditor.fetch(EARLIER)]
        await court.admin.execute("DROP SCHEMA earlier CASCADE")
        assert found == [(uri(B, "r1"), A)]
        assert await left_behind(court.database) == []

    runner.run(run())
