"""The oracle finds what is wrong, each kind of it: else its silence would mean nothing."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from projector.database import Database
from tests.simulator.case import SMALL, Case
from tests.simulator.facts import Fact
from tests.simulator.network import Network
from tests.simulator.oracle import log_complaints, tables
from tests.simulator.probe import Probe, probing
from tests.support.cli import Place

DAMAGE = {
    "a row is gone": ("DELETE FROM bsky.post WHERE uri = (SELECT max(uri) FROM bsky.post)",
                      "post: 1 rows are missing"),
    "a row says otherwise": ("UPDATE bsky.follow SET cid = 'x' WHERE uri = "
                             "(SELECT max(uri) FROM bsky.follow)", "follow: 1 rows are missing"),
    "a count is off": ('UPDATE bsky.post_agg SET "likeCount" = "likeCount" + 1 WHERE uri = '
                       "(SELECT max(uri) FROM bsky.post_agg)", "post_agg: 1 rows are missing"),
    "a verdict is another": ('UPDATE bsky.post SET "hasPostGate" = "hasPostGate" IS NOT TRUE',
                             "post: "),
    "a duplicate is forgotten": ("DELETE FROM bsky.duplicate_record", "duplicate_record: "),
    "an event is gone": ("DELETE FROM projector.event_log WHERE log_offset = 77", "offset 78 "),
    "an event says otherwise": ("UPDATE projector.event_log SET record = '{}' WHERE log_offset = 9",
                                "event 9 of"),
    "a letter is gone": ("DELETE FROM projector.dead_letter WHERE projection IS NOT NULL",
                         "letters missing"),
    "a message is gone": ("DELETE FROM projector.dead_letter WHERE raw IS NOT NULL",
                          "unreadable messages are not kept"),
    "a checkpoint lags": ("UPDATE projector.checkpoint SET log_offset = 5"
                          " WHERE projection = 'like'", "like is at 5"),
}  # fmt: skip


@pytest.fixture
async def case(tmp_path: Path, database: Database) -> Case:
    """A history that has been run, and is right."""
    await Place(tmp_path, "--database", database.url, **SMALL).ok("init")
    case = Case(11, (), tmp_path, database.url)
    result = await case.run()
    assert result.complaints == []
    assert result.looks > 0
    return case


async def test_every_kind_of_damage_is_found(case: Case) -> None:
    for what, (statement, complaint) in DAMAGE.items():
        found = await damaged(case, statement)
        assert any(complaint in text for text in found), (what, found)
    await assert_that_a_row_is_missed_in_every_table(case)
    assert await case.oracle.verdict(case.url) == []


async def assert_that_a_row_is_missed_in_every_table(case: Case) -> None:
    there = {name for name, rows in tables(case.oracle.facts).items() if rows}
    assert len(there) > 20
    gone = "; ".join(
        f'DELETE FROM bsky."{name}" WHERE ctid = (SELECT max(ctid) FROM bsky."{name}")'
        for name in there
    )
    found = await damaged(case, gone)
    assert {text.partition(":")[0] for text in found} == there


async def damaged(case: Case, statement: str) -> list[str]:
    """What the oracle says of the database with some damage, which is undone."""
    name = case.url.partition("?")[0].rpartition("/")[2]
    copy = case.url.replace(f"/{name}", f"/{name}_copy", 1)
    connection = await asyncpg.connect(case.url.replace(f"/{name}", "/postgres", 1))
    try:
        await connection.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
        harmed = await asyncpg.connect(copy)
        await harmed.execute(statement)
        await harmed.close()
        found = await case.oracle.verdict(copy)
        await connection.execute(f"DROP DATABASE {name}_copy WITH (FORCE)")
    finally:
        await connection.close()
    return found


async def test_the_probe_sees_a_count_that_is_off_and_a_gap(case: Case) -> None:
    connection = await asyncpg.connect(case.url)
    probe = Probe(case.url)
    await probe.look(connection)
    assert probe.complaints == []
    await connection.execute('UPDATE bsky.profile_agg SET "postsCount" = "postsCount" + 1')
    await connection.execute("DELETE FROM projector.event_log WHERE log_offset = 5")
    await probe.look(connection)
    assert any("a count is off by 1" in text for text in probe.complaints)
    assert any("offsets" in text for text in probe.complaints)
    await connection.execute("UPDATE projector.log_head SET head = head - 1")
    async with probing(case.url) as second:
        pass
    assert second.complaints
    await connection.close()


def rows(facts: list[Fact]) -> list[tuple[object, ...]]:
    """The log that would hold these."""
    return [(n, *fact.logged) for n, fact in enumerate(facts, 1)]


@pytest.mark.parametrize("exactly", [True, False])
def test_what_is_wrong_with_a_log(exactly: bool) -> None:
    facts = [fact for fact in Network(2, 200).facts if fact.what != "garbage"]
    last = facts[-1]
    other = next(fact for fact in reversed(facts) if fact.did == last.did and fact is not last)
    swapped = [other if f is last else last if f is other else f for f in facts]
    steady = next(fact for fact in facts if fact.is_commit and not any(
        f.removes and f.did == fact.did for f in facts))  # fmt: skip

    def complaints(log: list[Fact]) -> list[str]:
        return log_complaints(rows(log), facts, exactly=exactly)

    assert complaints(facts) == []
    assert complaints(facts[:-1])
    assert complaints(facts[:50] + facts[51:])
    assert complaints(swapped)
    assert complaints([*facts, steady])
    assert complaints([*facts, Network(3, 10).facts[0]])
    assert log_complaints(rows(facts)[1:], facts, exactly=exactly)
