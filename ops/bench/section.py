"""One table of the report, as every part of the benchmark hands it over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Section:
    """What one part measured.

    `ratios` are lines for the report's head; `rows` are the table, as text, under `heads`, the
    first column to the left; `figures` is all of it for JSON: medians, spreads and every round,
    with the unit in each name.
    """

    title: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]
    ratios: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
