"""A sound projection passes; one that is broken fails, with a line that says why."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from projections.post import posts
from projector import certify_scratch
from projector.apply import TableWriter
from projector.certify import Certifier, records_made_up
from projector.certify_history import accounts, delivered, interleaved, made_up
from projector.certify_rows import impurities
from projector.certify_sheet import ABOUT, Check, Plan
from projector.database import Database
from projector.declare import Declaration, Projection
from projector.settings import Settings
from tests.certify import broken
from tests.certify.broken import BROKEN, RECORDS, counted
from tests.extend.test_new_projection import block_agg, blocks
from tests.support.engine import DECLARATIONS

STATIC = ["declaration", "rows", "odd records", "pure", "tables"]
NAMES = [*STATIC, "stored", "one window", "torn windows", "repeats", "reordering", "kills",
         "takeover", "daemons", "rebuild", "pure, later"]  # fmt: skip


async def certified(
    database: Database,
    declarations: Sequence[Declaration],
    projection: Projection,
    records: Sequence[bytes] = RECORDS,
    *,
    events: int = 60,
    seed: int = 1,
) -> dict[str, Check]:
    """The sheet, by the names of the checks; nothing is left on the server."""
    plan = Plan(seed, 1, events)
    certifier = Certifier(
        database, declarations, Settings(), projection, records=records, plan=plan
    )
    checks = await certifier.run()
    assert await databases(database) == []
    return {check.name: check for check in checks}


async def databases(database: Database) -> list[str]:
    connection = await database.connect("test looks")
    rows = await connection.fetch(
        "SELECT datname FROM pg_database WHERE datname LIKE 'projector_certify%'"
    )
    await connection.close()
    return [row[0] for row in rows]


async def test_a_sound_projection_passes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not for want of trying: connections are lost many times, at many statements."""
    cuts: list[int] = []
    connect = certify_scratch.Cutting.connect

    async def noted(self: certify_scratch.Cutting, role: str, **settings: str) -> object:
        cuts.extend(self.cuts[len(cuts) :])
        return await connect(self, role, **settings)

    monkeypatch.setattr(certify_scratch.Cutting, "connect", noted)
    checks = await certified(database, [blocks, block_agg], blocks, seed=77, events=150)
    assert [c for c in checks.values() if not c.passed] == []
    assert list(checks) == list(ABOUT) == NAMES
    assert len(cuts) >= 10
    assert len(set(cuts)) >= 5


async def test_ours_pass_with_the_generators_records(database: Database) -> None:
    records = records_made_up(posts.collection)
    assert len(records) > 100
    checks = await certified(database, DECLARATIONS, posts, records)
    assert [c for c in checks.values() if not c.passed] == []


@pytest.mark.parametrize("name", BROKEN)
async def test_a_broken_one_fails_and_is_told_why(database: Database, name: str) -> None:
    projection, check, why = BROKEN[name]
    checks = await certified(database, [projection, counted(projection)], projection)
    assert not checks[check].passed
    assert re.search(why, checks[check].detail)
    assert "\n" not in checks[check].detail
    assert list(checks) == (STATIC if check in STATIC else [*STATIC, "stored", "pure, later"])


class Forgetful(TableWriter):
    """An engine that does not count what it deletes: the sheet must show it."""

    async def read_feeds(self, connection: asyncpg.Connection) -> None:
        self._feed(())


async def test_counters_that_are_off_are_seen(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trials are no mere show: with an engine that feeds no counter they fail."""
    monkeypatch.setattr("projector.projectors.TableWriter", Forgetful)
    checks = await certified(database, [blocks, block_agg], blocks)
    failed = {name for name, check in checks.items() if not check.passed}
    assert failed >= {"one window", "torn windows", "repeats", "kills", "takeover", "daemons"}
    assert re.search(r"block_agg\.\w+ of did:\S+: 0 stored and 0 pending, but \d+ rows",
                     checks["one window"].detail)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "asked"),
    [
        (broken.by_the_clock, {"datetime.now"}),
        (broken.by_chance, {"random.random"}),
        (broken.pure, set()),
        (broken.by_state, set()),
        *((d.row, set()) for d in DECLARATIONS if isinstance(d, Projection)),
    ],
)
def test_what_a_row_asks_is_found_in_its_code(row: Any, asked: set[str]) -> None:
    assert impurities(replace(blocks, row=row)) == asked


def test_a_history_has_everything() -> None:
    """All kinds of events, in the order of each repo; a seed always makes the same."""
    facts = made_up(blocks.collection, RECORDS, 3, 600)
    assert facts == made_up(blocks.collection, RECORDS, 3, 600)
    assert facts != made_up(blocks.collection, RECORDS, 4, 600)
    kinds = {(event.kind, event.action) for event in facts}
    assert kinds >= {("commit", "create"), ("commit", "update"), ("commit", "delete"),
                     ("account", "deleted"), ("account", "active"), ("sync", "reset")}  # fmt: skip
    revs = [event.rev for event in facts if event.rev]
    assert revs == sorted(set(revs))
    assert {event.did for event in facts} == set(accounts(3))
    log = delivered(facts, 3)
    assert len(log) > len(facts)
    assert set(map(repr, log)) == set(map(repr, facts))
    other = interleaved(facts, 3)
    assert other != facts
    for did in accounts(3):
        assert [e for e in other if e.did == did] == [e for e in facts if e.did == did]


async def test_who_may_make_no_database_is_told(database: Database) -> None:
    connection = await database.connect("test role")
    await connection.execute("CREATE ROLE nobody_much LOGIN")
    try:
        poor = replace(database, url=database.url.replace("//postgres@", "//nobody_much@"))
        with pytest.raises(Exception, match="grant CREATEDB"):
            await certified(poor, [blocks], blocks)
    finally:
        await connection.execute("DROP ROLE nobody_much")
        await connection.close()
