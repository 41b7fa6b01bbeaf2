"""What the tests of the terminal have in common."""

from __future__ import annotations

from tests.cli.conftest import place, ready, watch

__all__ = ["place", "ready", "watch"]
