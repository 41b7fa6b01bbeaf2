"""What a guard is: a statement, the windows it is tried with, and what its plan may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from tests.plans.plan import Plan, Values

KEYS: Final = 10
"""Keys in a window that is run."""
ROWS_PER_KEY_MAX: Final = 6
"""A key may be met in the table, on the shelf, in the list; by its uri and by its claim."""
ROWS_FREE: Final = 12
"""Of the tables that stay small all rows may be read."""
PAGES_FREE: Final = 24
"""Pages of catalogs, and of a table's end, that a statement asks for once."""
GROWTH_MAX: Final = 1.5
"""An index of ten times the rows has at most one level more: three pages for two."""
SMALL_TABLES: Final = {"checkpoint", "lease", "log_head", "log_partition", "source_cursor"}

Window = Callable[[int, int], Values]
"""The parameters of the n-th window of so many keys; no two windows have the same keys."""


@dataclass(frozen=True)
class Guard:
    """A statement, its windows by how their keys are, and what its plan may be.

    `role` is whose connection runs it. `keys` are those of a window that is run, by which rows and
    pages are bounded: of a removal, the rows that go. `grows` says that windows of thousands of
    keys are as usual as small ones.
    """

    name: str
    sql: str
    windows: Mapping[str, Window]
    indexes: frozenset[str]
    role: str
    keys: int = KEYS
    pages_per_key: int = 16
    grows: bool = False

    def breaches(self, plan: Plan) -> list[str]:
        """What of a run is against this guard."""
        found = self.wrong_ways(plan)
        if plan.visited > (rows := ROWS_FREE + ROWS_PER_KEY_MAX * self.keys):
            found.append(f"visits {plan.visited:,} rows, not {rows:,}")
        if plan.pages > (pages := PAGES_FREE + self.pages_per_key * self.keys):
            found.append(f"asks for {plan.pages:,} pages, not {pages:,}")
        return found

    def wrong_ways(self, plan: Plan) -> list[str]:
        """The tables and indexes that the plan reads and should not."""
        found = [f"scans {table}" for table in sorted(plan.scanned - SMALL_TABLES)]
        return found + [f"uses {index}" for index in sorted(plan.indexes - self.indexes)]


def growth(small: Plan, large: Plan) -> str | None:
    """How a plan's pages grew with a table of ten times the rows, where they grew too much."""
    most = GROWTH_MAX * small.pages + PAGES_FREE
    return f"{small.pages:,} pages became {large.pages:,}" if large.pages > most else None
