"""The state in words and tables, as wide as a terminal is."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from projector.doctor.finding import size
from projector.output import table
from projector.state import State
from projector.status import IN_STEP_SECONDS, ProjectionStatus, SourceStatus, Status
from projector.terminal.views import View

COLOURS: Final = {"good": "green", "warn": "yellow", "bad": "red"}
COMMAND: Final = re.compile(r"^(.*?)(?:: ((?:projector|redis-cli|SELECT) .*?)\.?)?$")
LETTERS_SHOWN: Final = 10
COLUMNS: Final = (
    ("sources", 16), ("", None), ("event log", 11), ("", None), ("tables", 16), ("", None),
    ("counts", 19),
)  # fmt: skip
"""Of the pipeline, with their shares of the width."""

Picture = Callable[[View], RenderableType]


def sentence(state: State) -> Text:
    """The sentence, a clause a line; what is to be typed stands out."""
    text = Text()
    for i, clause in enumerate(state.sentence.split("; ")):
        found = COMMAND.match(clause)
        before, command = found.groups() if found else (clause, None)
        text.append("\n  " if i else "● ", style=COLOURS[state.level])
        text.append(before, style="bold" if not i else "")
        if command is not None:
            text.append(": ").append(command, style="bold cyan")
    return text


def age(state: State) -> str:
    """How old the state is."""
    if not state.at:
        return "looking …"
    return "live" if state.age_seconds < 5 else f"{state.age_seconds:,.0f} s old"


def tiles(state: State) -> Text:
    """The numbers that are looked at first."""
    status, sample = state.status, state.sample
    if status is None:
        return Text()
    late = max((p.lag_seconds for p in status.projections), default=0.0)
    letters = sum(letter.count for letter in status.dead_letters)
    parts = [
        (f"{status.head:,}", "events", ""),
        (f"{sample.appended_per_second:,.1f}" if sample else "–", "a second", ""),
        (f"{late:,.1f} s", "behind", "yellow" if late > IN_STEP_SECONDS else ""),
        (f"{status.audit.differences:,}", "differences", "red" if status.audit.differences else ""),
        (f"{letters:,}", "dead letters", ""),
    ]
    text = Text(no_wrap=True)
    for number, name, colour in parts:
        text.append("   " if text else "").append(number, style=f"bold {colour}".strip())
        text.append(f" {name}", style="dim")
    return text


def pipeline(view: View) -> RenderableType:
    """Sources, log, tables, aggregates, with events a second."""
    status = view.state.status
    if status is None:
        return ""
    used = [s for s in status.sources if s.owner is not None or s.events_per_second]
    sources = [_source_cell(s) for s in used or status.sources[:1]]
    rate = view.state.sample.appended_per_second if view.state.sample else 0.0
    log = [Text(f"{status.head:,}", style="bold"), Text(f"{rate:,.1f}/s", style="blue")]
    kinds = [
        [_cell(p) for p in status.projections if (p.kind == "table") is is_table]
        for is_table in (True, False)
    ]
    grid = Table(box=None, pad_edge=False, expand=True)
    for name, share in COLUMNS:
        grid.add_column(name, header_style="dim", no_wrap=True, ratio=share)
    for i, row in enumerate(zip_longest(sources, log, *kinds, fillvalue=Text())):
        arrow = Text("─►" if not i else "", style="blue")
        grid.add_row(row[0], arrow, row[1], arrow, row[2], arrow, row[3])
    return grid


def _source_cell(source: SourceStatus) -> Text:
    colour = "green" if source.owner is not None else "red" if source.is_in_use else "dim"
    name = re.sub(
        r"^(generate|file):.*|^[a-z]+://([^/?]*).*?(?:stream=(.*))?$", _short, source.name
    )
    text = Text("● ", style=colour).append(name[:14], style="default")
    return text.append(f" {source.events_per_second:,.0f}/s", style="blue")


def _short(found: re.Match[str]) -> str:
    return found[3] or found[2] or found[1]


def _cell(p: ProjectionStatus) -> Text:
    is_late = p.lag_seconds > IN_STEP_SECONDS
    colour = "red" if p.owner is None and p.lag_events else "yellow" if is_late else "green"
    text = Text("● ", style=colour).append(p.name, style="default")
    if is_late or (p.owner is None and p.lag_events):
        return text.append(f" −{p.lag_events:,}", style=colour)
    return text.append(f" {p.events_per_second:,.0f}/s", style="blue")


def projections(view: View) -> RenderableType:
    """A line for each projection."""
    return _of(view, lambda status: table(
        "", ("projection", "checkpoint", "lag", "seconds", "events/s", "letters", "run by"),
        [(p.name, p.checkpoint, p.lag_events, p.lag_seconds, p.events_per_second, p.dead_letters,
          _owner(p.owner)) for p in status.projections],
    ))  # fmt: skip


def sources(view: View) -> RenderableType:
    """A line for each source, and for each stream of Redis."""
    streams = [
        (r.stream, r.entries, r.pending, size(r.memory_bytes),
         size(r.memory_max_bytes) if r.memory_max_bytes else "no limit", r.error)
        for r in view.state.redis
    ]  # fmt: skip
    found: list[RenderableType] = [_of(view, lambda status: table(
        "", ("source", "events", "events/s", "repeats", "undecodable", "heard", "run by"),
        [(s.name, s.events, s.events_per_second, s.duplicates, s.undecodable,
          f"{s.idle_seconds:,.0f} s ago", _owner(s.owner)) for s in status.sources],
    ))]  # fmt: skip
    if streams:
        columns = ("stream", "entries", "unacknowledged", "memory", "of", "error")
        found.append(table("\nRedis", columns, streams))
    return Group(*found)


def letters(view: View) -> RenderableType:
    """Dead letters by reason, and the newest."""
    status = view.state.status
    if status is None or not status.dead_letters:
        return "There are no dead letters."
    rows = [(x.where, x.stage, x.reason, x.count) for x in status.dead_letters]
    newest = table(
        "\nthe newest: projector dead-letters show ID", ("id", "of", "reason", "error"),
        [(x.id, x.where, x.reason, x.error) for x in view.letters[:LETTERS_SHOWN]],
    )  # fmt: skip
    return Group(table("", ("of", "stage", "reason", "letters"), rows), newest)


def audit(view: View) -> RenderableType:
    """The rolling audit, and rebuilds."""
    status = view.state.status
    if status is None:
        return ""
    found: list[RenderableType] = [Text(f"{status.audit.sentence}.")]
    if status.rebuilds:
        rows = [
            (r.name, r.phase, r.checkpoint, r.through, _owner(r.owner)) for r in status.rebuilds
        ]
        columns = ("rebuild of", "at", "checkpoint", "loads to", "run by")
        found.append(table("\nrebuilds", columns, rows))
    return Group(*found)


def movers(view: View) -> RenderableType:
    """Accounts that gain most."""
    state = view.state
    if not state.movers:
        return (
            "Who gains most is known to the daemon that applies it, for the hour past:\n"
            "projector top --page http://127.0.0.1:7780"
        )
    columns = ("account", f"{state.movers_counter} gained")
    return table("", columns, [(m.key, m.gained) for m in state.movers])


def disk(view: View) -> RenderableType:
    """What the log takes, and connections."""
    state = view.state
    if state.log is None or state.forecast is None:
        return ""
    free = "cannot be known from here"
    if state.disk is not None:
        free = f"{size(state.disk.free_bytes)} of {size(state.disk.total_bytes)}"
    facts = [
        ("free on the disk of Postgres", free),
        ("event log, live", f"{size(state.log.bytes)} in {state.log.partitions} partitions"),
        ("event log, archived", size(state.log.archive_bytes)),
        ("the whole database", size(state.log.database_bytes)),
        ("an event takes", size(state.forecast.bytes_per_event)),
        ("the log grows in a day by", size(state.forecast.bytes_per_day)),
        ("connections of ours", f"{sum(state.connections.values()):,}"),
    ]
    return table("", ("", ""), facts)


def _of(view: View, draw: Callable[[Status], Table]) -> RenderableType:
    return draw(view.state.status) if view.state.status is not None else ""


def _owner(name: str | None) -> str:
    return "nobody" if name is None else ":".join(name.split(":")[:2])


PICTURES: Final[dict[str, Picture]] = {
    "pipeline": pipeline,
    "projections": projections,
    "sources": sources,
    "letters": letters,
    "audit": audit,
    "movers": movers,
    "disk": disk,
}
"""The tabs, in their order."""
