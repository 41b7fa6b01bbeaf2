"""Statements made from the tables that projections declare; values are always parameters."""

from __future__ import annotations

from collections.abc import Sequence


def listed(columns: Sequence[str]) -> str:
    """The columns' names, quoted, with commas between."""
    return ", ".join(f'"{name}"' for name in columns)


def inserting(table: str, columns: Sequence[str]) -> str:
    """The insert of one row where nothing is in its way; a value each, in the columns' order."""
    values = ", ".join(f"${n}" for n in range(1, len(columns) + 1))
    return f'INSERT INTO "{table}" ({listed(columns)}) VALUES ({values}) ON CONFLICT DO NOTHING'
