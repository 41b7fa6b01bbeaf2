"""Draws a counter over time: in the terminal, as PNG and as SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from projector.errors import UsageError
from projector.history import History, Point

BRAILLE: Final = 0x2800
# A character is two dots wide and four high; the bit of each dot, from the top.
DOTS: Final = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
ROWS: Final = 12
COLUMNS_MIN, COLUMNS_MAX = 40, 120
INCHES: Final = (10.0, 4.5)
LINE: Final = "counter"
"""The id of the line in an SVG."""


def steps_of(points: Sequence[Point]) -> list[tuple[datetime, int]]:
    """The points as times and values with times that never fall: an event that tells of something
    earlier moved the counter when it came, no earlier than the event before it."""
    found: list[tuple[datetime, int]] = []
    for point in points:
        moment = max(point.occurred_at, found[-1][0]) if found else point.occurred_at
        found.append((moment, point.value))
    return found


def terminal_plot(history: History, width: int) -> str:
    """The counter over time in so many columns: a line of characters for each row of the plot."""
    steps = steps_of(history.points)
    least, most = _range([value for _, value in steps])
    label_width = max(len(f"{least:,}"), len(f"{most:,}"))
    columns = min(max(width - label_width - 2, COLUMNS_MIN), COLUMNS_MAX)
    grid = [[0] * columns for _ in range(ROWS)]
    for x, (low, high) in enumerate(_spans(steps, columns * 2)):
        for value_at in range(_dot(low, least, most), _dot(high, least, most) + 1):
            y = ROWS * 4 - 1 - value_at
            grid[y // 4][x // 2] |= DOTS[x % 2][y % 4]
    lines = [f"{history.counter} of {history.key}, {history.unit}"]
    for row, cells in enumerate(grid):
        label = _row_label(row, least, most).rjust(label_width)
        lines.append(
            f"{label} ┤{''.join(chr(BRAILLE + cell) for cell in cells)}".rstrip(chr(BRAILLE))
        )
    lines.append(" " * label_width + " └" + "─" * columns)
    lines += _time_axis(steps[0][0], steps[-1][0], label_width + 2, columns)
    return "\n".join(lines)


def _range(values: Sequence[int]) -> tuple[int, int]:
    """The values at the plot's bottom and top, which are two."""
    least, most = min(values), max(values)
    return (least, most) if least < most else (least - (least > 0), most + (least <= 0))


def _dot(value: int, least: int, most: int) -> int:
    return round((value - least) * (ROWS * 4 - 1) / (most - least))


def _row_label(row: int, least: int, most: int) -> str:
    return {0: f"{most:,}", ROWS - 1: f"{least:,}"}.get(row, "")


def _spans(steps: Sequence[tuple[datetime, int]], dots: int) -> Iterator[tuple[int, int]]:
    """The least and the greatest value in each of so many equal pieces of time."""
    begin, end = steps[0][0], steps[-1][0]
    value, at = steps[0][1], 0
    for dot in range(1, dots + 1):
        until = begin + (end - begin) * (dot / dots) if dot < dots else end
        values = [value]
        while at < len(steps) and steps[at][0] <= until:
            value = steps[at][1]
            values.append(value)
            at += 1
        yield min(values), max(values)


def _time_axis(begin: datetime, end: datetime, indent: int, columns: int) -> list[str]:
    pattern = "%Y-%m-%d %H:%M:%S" if end - begin < timedelta(days=3) else "%Y-%m-%d"
    first, last = begin.astimezone(UTC).strftime(pattern), end.astimezone(UTC).strftime(pattern)
    gap = max(columns - len(first) - len(last), 1)
    title = f"time of the events, UTC ({_span(end - begin)})"
    return [
        " " * indent + first + " " * gap + last,
        " " * indent + title.center(columns).rstrip(),
    ]


def _span(length: timedelta) -> str:
    seconds = length.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:,.3f} seconds"


def write_plot(history: History, path: Path) -> None:
    """Writes the plot to a file: PNG or SVG, as its name ends.

    Raises `UsageError` where matplotlib is missing or the file cannot be written.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise UsageError(
            "drawing to a file needs matplotlib; install it: pip install 'atproto-projector[plot]'"
        ) from None
    steps = steps_of(history.points)
    # The same file for the same history: no date, and ids that are not made up anew.
    with rc_context({"svg.hashsalt": "projector", "svg.fonttype": "none"}):
        figure = Figure(figsize=INCHES, layout="constrained")
        axes = figure.add_subplot()
        moments = [float(date2num(at)) for at, _ in steps]
        (line,) = axes.step(moments, [value for _, value in steps], where="post")
        line.set_gid(LINE)
        axes.set_title(f"{history.counter} of {history.key}", fontsize="medium")
        axes.set_xlabel("time of the events, UTC")
        axes.set_ylabel(f"{history.counter.partition('.')[2]}, {history.unit}")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.grid(alpha=0.3)
        try:
            figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error
