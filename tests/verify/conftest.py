"""Where the program runs against a damaged database."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Place


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Place:
    """Where commands run on a server that is named to them."""
    return Place(tmp_path, "--database", database_url)
