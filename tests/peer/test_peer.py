"""The AppView's own software, run: it agrees with the golden results, and answers over our tables.

Run by `make peer` only: it installs the published packages and takes minutes.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from projector.embedded_postgres import EmbeddedPostgres
from tests.peer.answers import served
from tests.peer.compare import TRUST, asked, compare, execute
from tests.peer.damage import DAMAGES, SHUFFLE, copy, restore
from tests.peer.fill import fill
from tests.peer.ours import fill_by_projector
from tests.peer.play import kept as kept_scenarios
from tests.peer.play import play_all, stage
from tests.peer.population import everyday
from tests.peer.process import migrate
from tests.peer.questions import questions
from tests.peer.schema import kept, peer_schema
from tests.peer.servers import server
from tests.peer.tables import Tables, all_tables, canonical, normal
from tests.support.corpus import golden_lines, lines_of
from tests.support.own_server import make_database
from tests.support.shared import require_shared

pytestmark = [pytest.mark.peer, pytest.mark.timeout(1800)]

EVENTS = everyday()

COVERED = {"GetActorFollowsActors", "GetActorLikes", "GetActorReposts", "GetKnownLikers",
           "GetLikesByActorAndSubjects", "GetLikesBySubject", "GetLikesBySubjectSorted",
           "GetRepostsByActorAndSubjects", "GetRepostsBySubject"}  # fmt: skip

# The golden table of this step was made by a delete that takes the duplicates along, as only the
# reference's own tests do it; the subscription's delete lets f3 follow (dataplane.md 0.4).
CASCADED = {"followDup": [4]}


@pytest.fixture(scope="module")
def pg15() -> Iterator[EmbeddedPostgres]:
    with server() as running:
        yield running


@pytest.fixture(scope="module")
def filled(pg15: EmbeddedPostgres) -> str:
    """A database that the peer filled from the small network."""

    async def make() -> str:
        url = await make_database(pg15, "filled")
        said = await fill(url, EVENTS)
        assert said.refused == {}
        await execute(url, TRUST)
        return url

    return asyncio.run(make())


async def tables_of(url: str) -> Tables:
    connection = await asyncpg.connect(url)
    try:
        return await all_tables(connection)
    finally:
        await connection.close()


def golden_tables(folder: Path) -> Tables:
    return {
        path.name.partition(".")[0]: sorted(map(json.loads, gzip.open(path)), key=canonical)
        for path in (folder / "tables").iterdir()
    }


async def test_the_kept_schema_is_the_peers(pg15: EmbeddedPostgres) -> None:
    assert await peer_schema(await make_database(pg15, "fresh")) == kept()


async def test_the_peer_makes_the_golden_tables(pg15: EmbeddedPostgres) -> None:
    url = await make_database(pg15, "whole")
    said = await fill(url, golden_lines("whole"))
    assert said.refused == {}
    assert await tables_of(url) == golden_tables(require_shared() / "golden" / "whole")


async def test_the_peer_plays_the_golden_scenarios(pg15: EmbeddedPostgres) -> None:
    """Step by step: what it refuses, and all its tables."""
    lines = lines_of("golden/scenarios.jsonl.gz")
    assert len(lines) == 49
    async with stage(await make_database(pg15, "golden_scenarios")) as peer:
        for scenario in map(json.loads, lines):
            steps = scenario["steps"]
            played = await peer.play(json.dumps(step["event"]).encode() for step in steps)
            assert [s["accepted"] for s in played] == [s["accepted"] for s in steps]
            pairs = zip(states(played), states(steps), strict=True)
            differing = [i for i, (found, expected) in enumerate(pairs) if found != expected]
            assert differing == CASCADED.get(scenario["scenario"], []), scenario["scenario"]


def states(steps: list[dict[str, Any]]) -> list[Tables]:
    """All tables after each step."""
    found: list[Tables] = []
    for step in steps:
        found.append(normal(step["tables"]) if "tables" in step else found[-1] if found else {})
    return found


async def test_the_kept_scenarios_are_what_the_peer_does(pg15: EmbeddedPostgres) -> None:
    assert await play_all(await make_database(pg15, "kept_scenarios")) == kept_scenarios()


async def test_the_same_rows_at_other_places_are_told_as_equal(
    pg15: EmbeddedPostgres, filled: str
) -> None:
    shuffled = await copy(pg15, "filled", "shuffled")
    await execute(shuffled, SHUFFLE)
    result = await compare(filled, shuffled, EVENTS)
    assert result.differing == []
    assert result.asked.total() > 1000


async def test_our_tables_answer_the_same(pg15: EmbeddedPostgres, filled: str) -> None:
    """The peer's servers over tables that `projector` filled; so far what reads only those that
    there are projections for."""
    ours = await make_database(pg15, "ours")
    await migrate(ours)
    await fill_by_projector(ours, EVENTS)
    covered = [question for question in questions(EVENTS) if question.method in COVERED]
    async with served(filled) as expecting, served(ours) as finding:
        result = await asked(expecting, finding, covered)
    assert result.differing == []
    assert set(result.asked) == COVERED


async def test_damage_to_any_table_is_told(pg15: EmbeddedPostgres, filled: str) -> None:
    damaged = await copy(pg15, "filled", "damaged")
    every = questions(EVENTS)
    untold = []
    async with served(filled) as expecting, served(damaged) as finding:
        for damage in DAMAGES:
            await execute(damaged, damage.sql)
            result = await asked(
                expecting, finding, [q for q in every if q.method == damage.method]
            )
            places = [place for _, found in result.differing for place, _, _ in found]
            if not any(damage.place in place for place in places):
                untold.append(damage.table)
            await restore(damaged, damage.table, filled)
    assert untold == []
    assert await tables_of(damaged) == await tables_of(filled)
