"""Tests that only a mutant showed to be missing: of the fold."""

from __future__ import annotations

import msgspec
import pytest

from projections.like import likes
from projector.fold import Folder, Window
from tests.support.histories import LIKE, made


@pytest.mark.parametrize("what", ["create", "update"])
def test_the_first_of_two_with_one_rev_decides(what: str) -> None:
    """Hosts stamp one event with different times: in one window, as over two, the first counts."""
    first = msgspec.structs.replace(made(1, what, LIKE), log_offset=1)
    again = msgspec.structs.replace(first, log_offset=2, time_us=first.time_us + 5_000_000)
    folded = Folder(likes).fold(Window(0, 2, [first, again], []))
    rows = [*folded.fresh, *folded.changed]
    at = likes.table.columns.index("indexedAt")
    assert [row[at] for row in rows] == [first.indexed_at]
    assert again.indexed_at != first.indexed_at
