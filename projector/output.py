"""How commands print: tables for people on a terminal, JSON with stable keys for programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from projector.status import Status

PIPED_COLUMNS = 160
"""How wide tables are where no terminal says."""

console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_COLUMNS)
errors = Console(stderr=True, highlight=False)


def print_json(value: object) -> None:
    """Prints one JSON value on a line of its own."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Table:
    """A plain table; numbers are right-aligned, with separators."""
    grid = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for i, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[i], (int, float)) for row in rows)
        grid.add_column(name, justify="right" if numeric else "left", header_style="dim")
    for row in rows:
        grid.add_row(*(shown(value) for value in row))
    return grid


def shown(value: object) -> str:
    """A value as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}"
    return str(value)


def status_tables(status: Status) -> list[Table | Text]:
    """The status as a sentence and tables."""
    found: list[Table | Text] = [
        Text(status.sentence, style="bold"),
        table(
            "projections",
            ("projection", "version", "checkpoint", "lag", "seconds", "events/s", "pending",
             "dead letters", "run by"),
            [
                (p.name, p.version, p.checkpoint, p.lag_events, p.lag_seconds,
                 p.events_per_second, p.pending_rows, p.dead_letters, p.owner)
                for p in status.projections
            ],
        ),
    ]  # fmt: skip
    if status.sources:
        found.append(
            table(
                "sources",
                ("source", "cursor", "events", "events/s", "repeats", "undecodable", "skipped",
                 "idle s", "run by"),
                [
                    (s.name, s.cursor, s.events, s.events_per_second, s.duplicates, s.undecodable,
                     sum(s.skipped.values()), s.idle_seconds, s.owner)
                    for s in status.sources
                ],
            )
        )  # fmt: skip
    if status.dead_letters:
        found.append(
            table(
                "dead letters",
                ("of", "stage", "reason", "count"),
                [(x.where, x.stage, x.reason, x.count) for x in status.dead_letters],
            )
        )
    if status.rebuilds:
        rows = [(r.name, r.phase, r.checkpoint, r.through, r.owner) for r in status.rebuilds]
        columns = ("rebuild of", "at", "checkpoint", "loads to", "run by")
        found.append(table("rebuilds", columns, rows))
    if status.audit.accounts:
        found.append(Text(f"audit: {status.audit.sentence}"))
    return found
