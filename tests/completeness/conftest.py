"""What the tests of completeness have in common."""

from __future__ import annotations

from tests.cli.conftest import place, ready, watch

__all__ = ["place", "ready", "watch"]
