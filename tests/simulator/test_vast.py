"""The account with very many rows, with a few thousand of them; `make vast` has a million."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from projector.database import Database
from tests.simulator import vast


async def test_an_account_goes_with_all_its_rows(database: Database, tmp_path: Path) -> None:
    assert await vast.run(2, 4_000, database.url, tmp_path) == []


def test_the_account_makes_all_its_rows_at_once_and_then_goes() -> None:
    facts = vast.history(2, 300)
    runs = [(did, len(list(run))) for did, run in groupby(fact.did for fact in facts)]
    did, length = max(runs, key=lambda run: run[1])
    assert length >= 300
    assert any(fact.removes for fact in facts if fact.did == did)
