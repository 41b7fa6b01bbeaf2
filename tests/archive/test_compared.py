"""A file that is not what its partition is never takes its place, whatever went wrong with it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from events.log import LogCorrupt
from projector import archiving
from tests.archive.conftest import Log, generated

CID_AT = 7
"""The place of the column cid in a row of the log."""


@pytest.mark.parametrize("what", ["altered", "missing"])
async def test_a_file_that_differs_does_not_take_the_place_of_its_partition(
    log: Log, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Rows are altered, or lost, on their way from the partition to the file."""
    groups_of = archiving.groups_of

    async def spoilt(*arguments: Any) -> AsyncIterator[list[Any]]:
        async for rows in groups_of(*arguments):
            row = list(rows[50])
            row[CID_AT] = "another"
            yield [*rows[:50], *([tuple(row)] if what == "altered" else []), *rows[51:]]

    await log.append(await generated(450))
    monkeypatch.setattr(archiving, "groups_of", spoilt)
    with pytest.raises(LogCorrupt):
        await log.archive()
    assert len(await log.partitions()) == 3
    monkeypatch.undo()
    await log.archive()
    assert await log.partitions() == [401]
    assert await log.read() == log.events
