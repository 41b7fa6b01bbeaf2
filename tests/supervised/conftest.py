"""What the tests of supervision have in common."""

from __future__ import annotations

from tests.daemon.conftest import place, watch

__all__ = ["place", "watch"]
