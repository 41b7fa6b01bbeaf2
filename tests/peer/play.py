"""Plays scenarios before the peer, step by step, and keeps what its tables come to."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

import asyncpg

from tests.peer.process import Program, migrate, program
from tests.peer.scenarios import Step, readable, scenarios
from tests.peer.schema import names
from tests.peer.tables import NOT_OF_EVENTS, Row, Tables, all_tables, canonical

KEPT: Final = Path(__file__).resolve().parents[1] / "golden" / "peer"
FORGET: Final = b'{"kind":"forget"}'

Played: TypeAlias = list[dict[str, Any]]
"""Of each step: the step, whether it was accepted, and the tables where they changed."""


class Stage:
    """The peer's indexer over a database that is emptied for each scenario."""

    def __init__(self, indexer: Program, connection: asyncpg.Connection) -> None:
        self._indexer = indexer
        self._connection = connection

    async def play(self, steps: Iterable[Step]) -> Played:
        """Does the steps, one by one, each to its end."""
        await self._begin()
        played, before = [], Tables()
        for step in steps:
            entry = readable(step) | await self._do(step)
            after = await all_tables(self._connection)
            played.append(entry | ({"tables": after} if after != before else {}))
            before = after
        return played

    async def _begin(self) -> None:
        tables = [n for n in await names(self._connection) if n not in NOT_OF_EVENTS]
        emptied = ", ".join(f'bsky."{name}"' for name in tables)
        await self._connection.execute(f"TRUNCATE {emptied}")
        await self._indexer.ask(FORGET)

    async def _do(self, step: Step) -> dict[str, Any]:
        if isinstance(step, bytes):
            return await self._indexer.ask(step)
        await self._connection.execute(step)
        return {"accepted": True}


@asynccontextmanager
async def stage(url: str) -> AsyncIterator[Stage]:
    """A stage over an empty database."""
    await migrate(url)
    connection = await asyncpg.connect(url)
    try:
        async with program("fill", url) as indexer:
            yield Stage(indexer, connection)
    finally:
        await connection.close()


async def play_all(url: str) -> dict[str, Played]:
    """All scenarios of ours, by the names of their files."""
    async with stage(url) as peer:
        return {f"{s.number}-{s.name}": await peer.play(s.steps) for s in scenarios()}


def keep(played: dict[str, Played]) -> None:
    """Writes them, a file a scenario and a line a step; of tables the rows that went or came."""
    KEPT.mkdir(exist_ok=True)
    for name, steps in played.items():
        lines, before = [], Tables()
        for step in steps:
            after = step.get("tables", before)
            lines.append(canonical({**step, "tables": _changed(before, after)}))
            before = after
        (KEPT / f"{name}.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


def _changed(before: Tables, after: Tables) -> dict[str, Tables]:
    return {
        name: {"gone": _without(before.get(name, []), after.get(name, [])),
               "come": _without(after.get(name, []), before.get(name, []))}
        for name in before.keys() | after.keys()
        if before.get(name) != after.get(name)
    }  # fmt: skip


def _without(rows: list[Row], others: list[Row]) -> list[Row]:
    """The rows less the others; of equal ones as many as there are more."""
    left = Counter(map(canonical, rows)) - Counter(map(canonical, others))
    return [json.loads(row) for row in sorted(left.elements())]


def kept() -> dict[str, Played]:
    """What is kept, by number and name, in the form of the golden scenarios: `tables` has all that
    are not empty after the step, where they differ from those after the step before."""
    return {path.stem: list(_steps(path)) for path in sorted(KEPT.glob("*.jsonl"))}


def _steps(path: Path) -> Iterator[dict[str, Any]]:
    tables = Tables()
    for line in path.read_text("utf-8").splitlines():
        step = json.loads(line)
        changed = step.pop("tables")
        tables = dict(tables)  # The one before was given away.
        for name, rows in changed.items():
            kept_rows = _without(tables.get(name, []), rows["gone"])
            tables[name] = sorted(kept_rows + rows["come"], key=canonical)
        tables = {name: rows for name, rows in tables.items() if rows}
        yield step | ({"tables": tables} if changed else {})
