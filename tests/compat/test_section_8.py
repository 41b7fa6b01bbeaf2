"""The scenarios of dataplane.md section 8, by hand: in the mode `reference`, and by default.

All of them lie in one log, so that they cost one run in each mode.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from events.event import Event
from projector.database import Database
from projector.embedded_postgres import EmbeddedPostgres
from tests.compat.cases import CASES, LEFT_OUT
from tests.compat.casting import Case, Play, Seen
from tests.compat.conftest import fresh_database
from tests.compat.short import TABLES, seen
from tests.compat.stage import ReferenceStage, append, event_of, reading, tables_of
from tests.peer.schema import names
from tests.support import engine

LETTERS = "SELECT DISTINCT log_offset FROM projector.dead_letter ORDER BY 1"

Told = dict[str, Seen]
"""Of each scenario what its tables came to."""


class Script:
    """All scenarios, as two parts of one log: before and after the SQL that some of them have."""

    def __init__(self) -> None:
        self.plays: dict[str, Play] = {}
        self.parts: tuple[list[Event], list[Event]] = ([], [])
        self.statements: list[str] = []
        owners: tuple[list[tuple[str, int]], list[tuple[str, int]]] = ([], [])
        for case in CASES:
            play = self.plays[case.name] = Play(case.number, case.case)
            case.play(play)
            self.statements += [statement for _, statement in play.sql]
            pause = play.sql[0][0] if play.sql else len(play.lines)
            for n, line in enumerate(play.lines):
                part = int(n >= pause)
                self.parts[part].append(event_of(line))
                owners[part].append((case.name, n + 1))
        self.owners = [*owners[0], *owners[1]]
        """Of each offset, from 1, the scenario and which of its events it is."""

    async def run(
        self, connection: asyncpg.Connection, catch_up: Callable[[], Awaitable[None]]
    ) -> Told:
        """Plays everything; what it came to."""
        await append(connection, self.parts[0])
        await catch_up()
        for statement in self.statements:
            # By default nothing makes the table of mutes here.
            with suppress(asyncpg.UndefinedTableError):
                await connection.execute(statement)
        await append(connection, self.parts[1])
        await catch_up()
        query = reading(await names(connection))
        tables = await tables_of(connection, query)
        refused = defaultdict(list)
        for (offset,) in await connection.fetch(LETTERS):
            name, n = self.owners[offset - 1]
            refused[name].append(str(n))
        return {
            case.name: self._seen(case, tables) | {"refused": sorted(refused[case.name])}
            for case in CASES
        }

    def _seen(self, case: Case, tables: Mapping[str, list[Any]]) -> Seen:
        wanted = (case.reference.keys() | case.correct.keys()) & TABLES.keys()
        return seen(self.plays[case.name], tables, wanted)


@pytest.fixture(scope="module")
def script() -> Script:
    """What happens."""
    return Script()


@pytest.fixture(scope="module")
def reference_told(
    postgres: EmbeddedPostgres, runner: asyncio.Runner, script: Script
) -> Iterator[Told]:
    """What it comes to in the mode `reference`."""
    with fresh_database(postgres, runner) as database:
        stage = runner.run(ReferenceStage(database).open())
        yield runner.run(script.run(stage.admin, lambda: stage.catch_up(100)))
        runner.run(stage.close())


@pytest.fixture(scope="module")
def correct_told(
    postgres: EmbeddedPostgres, runner: asyncio.Runner, script: Script
) -> Iterator[Told]:
    """What it comes to by default."""

    async def run(database: Database) -> Told:
        await engine.create(database, engine.ALL)
        connection = await database.connect("test")
        try:
            return await script.run(
                connection, lambda: engine.project(database, declarations=engine.ALL)
            )
        finally:
            await connection.close()

    with fresh_database(postgres, runner) as database:
        yield runner.run(run(database))


def test_no_scenario_is_missing() -> None:
    assert {case.number for case in CASES} | LEFT_OUT.keys() == set(range(1, 72))
    assert len({case.name for case in CASES}) == len(CASES)
    assert all(bool(case.correct) == bool(case.why) for case in CASES)


@pytest.mark.both_servers
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.play.__name__}")
def test_as_the_reference(case: Case, reference_told: Told) -> None:
    expected = {name: sorted(rows) for name, rows in ({"refused": []} | case.reference).items()}
    found = reference_told[case.name]
    assert {name: found[name] for name in expected} == expected


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.play.__name__}")
def test_by_default(case: Case, correct_told: Told) -> None:
    found = correct_told[case.name]
    for name, rows in ({"refused": []} | case.reference | case.correct).items():
        assert found[name] == sorted(rows), name
    for name, rows in case.correct.items():
        assert sorted(rows) != sorted(case.reference.get(name, [])), f"{name} is no deviation"
