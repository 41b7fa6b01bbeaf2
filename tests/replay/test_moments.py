"""A moment names the offset that was appended then."""

from __future__ import annotations

import pytest

from projector.database import Database
from projector.errors import UsageError
from projector.moments import offset_at
from tests.support.engine import append
from tests.support.histories import made
from tests.support.watch import Watch

# Three a minute: offsets 1 to 3 at noon, 4 to 6 a minute later, and so on.
APPENDED = """
UPDATE projector.event_log
SET appended_at = '2026-07-04T12:00:00Z'::timestamptz + (log_offset - 1) / 3 * interval '1 minute'
"""


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("7", 7, 7),
        ("900", 900, 900),
        ("2026-07-04", 1, 0),
        ("2026-07-04T12:00:00Z", 1, 3),
        ("2026-07-04T12:01:00", 4, 6),
        ("2026-07-04T14:01:00+02:00", 4, 6),
        ("2026-07-04T12:01:00.000001Z", 7, 6),
        ("2026-07-04 12:09:00", 28, 30),
        ("2026-07-04T12:09:01Z", 31, 30),
        ("2027-01-01", 31, 30),
    ],
)
async def test_offsets_and_moments(
    watch: Watch, database: Database, text: str, first: int, last: int
) -> None:
    await append(database, [made(n, "create", rkey=n) for n in range(1, 31)])
    await watch.execute(APPENDED)
    connection = await database.connect("test moments")
    try:
        assert await offset_at(connection, text) == first
        assert await offset_at(connection, text, last=True) == last
        for nonsense in ("noon", "", "-5", "2026-13-01", "١٢"):
            with pytest.raises(UsageError, match="neither an offset nor a moment"):
                await offset_at(connection, nonsense)
    finally:
        await connection.close()


async def test_an_empty_log_has_no_moments(database: Database) -> None:
    connection = await database.connect("test moments")
    try:
        assert await offset_at(connection, "2026-07-04") == 1
        assert await offset_at(connection, "2026-07-04", last=True) == 0
    finally:
        await connection.close()
