"""What the test of moving in have in common."""

from __future__ import annotations

from tests.cli.conftest import watch

__all__ = ["watch"]
