"""Where the shared test data lies, and what to do when it is not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED_DATA: Path = Path(__file__).resolve().parents[3] / "shared" / "data"
"""The folder `shared/data` beside the project's root (see its README.md for what is in it)."""


def require_shared() -> Path:
    """The data folder; skips the test where it is absent, but fails it when CI=true."""
    if SHARED_DATA.is_dir():
        return SHARED_DATA
    message = "the shared test data is absent: expected a folder shared/data beside the project"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)
