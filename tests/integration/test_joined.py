"""Columns of texts on their way to Postgres, each column as one text."""

from __future__ import annotations

import pytest

from projector.database import Database
from projector.outbox import joined_cells
from projector.statements import split_cells


@pytest.mark.parametrize(
    "columns",
    [
        [["a", None, ""], [None, None, None], ["", "", ""]],
        [["\x01", "\x02", "\x03\x05"], ["\x04", None, "tab\t"], ["日", "👩‍👩‍👧", None]],
        [[""]],
        [[None]],
    ],
)
async def test_what_is_joined_is_split_again(
    database: Database, columns: list[list[str | None]]
) -> None:
    texts, separator, none = joined_cells(columns)
    connection = await database.connect("test")
    try:
        for column, text in zip(columns, texts, strict=True):
            found = await connection.fetchval(
                f"SELECT {split_cells(3, 1, 2)}", separator, none, text
            )
            assert found == column
    finally:
        await connection.close()
