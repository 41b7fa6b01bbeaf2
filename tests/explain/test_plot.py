"""The plots show the points: in the terminal, as PNG, as SVG."""

from __future__ import annotations

import re
import struct
import xml.etree.ElementTree as Xml
import zlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from projector.errors import UsageError
from projector.history import History, Point
from projector.plot import COLUMNS_MIN, DOTS, ROWS, steps_of, terminal_plot, write_plot

NOON = datetime(2026, 7, 4, 12, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def history_of(*points: tuple[float, int]) -> History:
    """A history with values at so many seconds after noon."""
    return History(
        counter="profile_agg.followersCount",
        key="did:plc:a",
        unit="rows of follow",
        from_offset=1,
        to_offset=len(points),
        movements=len(points),
        value=points[-1][1],
        points=[
            Point(log_offset=n, occurred_at=NOON + timedelta(seconds=at), value=value)
            for n, (at, value) in enumerate(points, 1)
        ],
    )


def heights(drawn: str) -> list[set[int]]:
    """Of every column of dots, which are set, counted from below; read from the characters."""
    rows = [line.partition("┤")[2] for line in drawn.splitlines() if "┤" in line]
    assert len(rows) == ROWS
    columns = max(map(len, rows))
    found: list[set[int]] = [set() for _ in range(columns * 2)]
    for at, row in enumerate(rows):
        for x, character in enumerate(row):
            for side, column in enumerate(DOTS):
                for y, bit in enumerate(column):
                    if (ord(character) - 0x2800) & bit:
                        found[2 * x + side].add(ROWS * 4 - 1 - (4 * at + y))
    return found


def test_a_step_in_the_middle() -> None:
    drawn = terminal_plot(history_of((0, 1), (50, 4), (100, 4)), 47)
    found = heights(drawn)
    # 44 characters beside the label and the axis, of two dots each: at the bottom, a rise in the
    # piece of time that ends in the middle, and then at the top.
    assert found == [{0}] * 43 + [set(range(48))] + [{47}] * 44


def test_what_is_written_beside_the_plot() -> None:
    drawn = terminal_plot(history_of((0, 0), (90, 1_200), (180, 7)), 80)
    lines = drawn.splitlines()
    assert lines[0] == "profile_agg.followersCount of did:plc:a, rows of follow"
    assert lines[1].startswith("1,200 ┤")
    assert lines[ROWS].startswith("    0 ┤")
    assert "2026-07-04 12:00:00" in lines[-2]
    assert lines[-2].endswith("2026-07-04 12:03:00")
    assert lines[-1].strip() == "time of the events, UTC (3.0 minutes)"
    # It falls to 7 only at the very end.
    assert heights(drawn)[-1] == set(range(48))


def test_a_spike_shorter_than_a_column_is_drawn() -> None:
    found = heights(terminal_plot(history_of((0, 5), (505, 9), (505.001, 5), (1000, 5)), 0))
    assert len(found) == COLUMNS_MIN * 2
    assert [x for x, column in enumerate(found) if column == set(range(48))] == [40]
    assert all(column == {0} for x, column in enumerate(found) if x != 40)


@pytest.mark.parametrize("value", [0, 1, 5])
def test_a_single_point_has_a_plot(value: int) -> None:
    drawn = terminal_plot(history_of((0, value)), 60)
    assert f"{value} ┤" in drawn
    assert all(len(column) == 1 for column in heights(drawn))


def test_times_never_fall() -> None:
    steps = steps_of(history_of((5, 1), (2, 2), (9, 3)).points)
    assert [(at - NOON).total_seconds() for at, _ in steps] == [5, 5, 9]


POINTS = ((0.0, 1), (10.0, 2), (20.0, 3), (25.0, 2), (60.0, 7), (100.0, 7))


def test_the_svg_has_the_points(tmp_path: Path) -> None:
    file = tmp_path / "plot.svg"
    write_plot(history_of(*POINTS), file)
    root = Xml.parse(file).getroot()
    (line,) = [group for group in root.iter(f"{SVG}g") if group.get("id") == "counter"]
    (path,) = line.iter(f"{SVG}path")
    corners = [(float(x), float(y)) for x, y in re.findall(r"[ML] (\S+) (\S+)", path.attrib["d"])]
    # A step: each value holds until the time of the next.
    expected = [POINTS[0]]
    for (_, before), point in pairwise(POINTS):
        expected += [(point[0], before), point]
    (x0, y0), (x1, y1) = corners[0], (corners[-1][0], min(y for _, y in corners))
    assert x1 - x0 > 300
    assert y0 - y1 > 100
    drawn = [((x - x0) / (x1 - x0) * 100, (y0 - y) / (y0 - y1) * 6 + 1) for x, y in corners]
    for point in drawn:
        assert any(point == pytest.approx(corner, abs=0.01) for corner in expected), point
    for corner in expected:
        assert any(corner == pytest.approx(point, abs=0.01) for point in drawn), corner
    texts = {"".join(text.itertext()) for text in root.iter(f"{SVG}text")}
    assert "time of the events, UTC" in texts
    assert "followersCount, rows of follow" in texts
    assert "profile_agg.followersCount of did:plc:a" in texts


def test_the_same_history_makes_the_same_svg(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_plot(history_of(*POINTS), tmp_path / f"{name}.svg")
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def pixels(png: bytes) -> tuple[int, int, bytes]:
    """Width, height and lines of a PNG of 8-bit RGBA, the lines still filtered."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, data, size = 8, b"", (0, 0)
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        (checksum,) = struct.unpack(">I", png[at + 8 + length : at + 12 + length])
        assert checksum == zlib.crc32(kind + body)
        if kind == b"IHDR":
            *size_found, depth, colour = struct.unpack(">IIBB", body[:10])
            assert (depth, colour) == (8, 6)
            size = (size_found[0], size_found[1])
        elif kind == b"IDAT":
            data += body
        at += length + 12
    return *size, zlib.decompress(data)


def test_the_png_is_a_picture(tmp_path: Path) -> None:
    file, other = tmp_path / "plot.png", tmp_path / "other.png"
    write_plot(history_of(*POINTS), file)
    width, height, lines = pixels(file.read_bytes())
    assert (width, height) == (1000, 450)
    assert len(lines) == height * (1 + 4 * width)
    assert len(set(lines)) > 50  # Not blank.
    write_plot(history_of((0, 1), (50, 1), (100, 7)), other)
    assert pixels(other.read_bytes())[2] != lines


def test_a_file_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot write .*: No such file or directory"):
        write_plot(history_of(*POINTS), tmp_path / "nowhere" / "plot.svg")
