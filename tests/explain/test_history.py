"""`projector history`: a counter over time, in the terminal, in files, as points."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from projector.database import Database
from tests.explain.told import STORY, VALUES, A
from tests.support.cli import Place
from tests.support.engine import append, project

KEYS = {
    "counter", "key", "unit", "from_offset", "to_offset", "movements", "value", "points",
}  # fmt: skip


def values(found: dict[str, Any]) -> list[tuple[int, int]]:
    return [(point["log_offset"], point["value"]) for point in found["points"]]


@pytest.mark.both_servers
async def test_the_points_are_those_of_the_story(ready: Place, database: Database) -> None:
    # Nothing has been applied: the log alone says what the counter truly is.
    await append(database, STORY)
    found = await ready.json("history", "followersCount", A)
    assert found.keys() == KEYS
    assert (found["counter"], found["key"]) == ("profile_agg.followersCount", A)
    assert found["unit"] == "rows of follow"
    assert values(found) == VALUES
    assert found["points"][4] == {
        "log_offset": 10, "occurred_at": "2026-07-04T12:00:10Z", "value": 1,
    }  # fmt: skip
    assert (found["from_offset"], found["to_offset"]) == (1, 13)
    assert (found["movements"], found["value"]) == (8, 2)

    # Each end has its value, whether or not it moved the counter.
    found = await ready.json("history", "followersCount", A, "--from", "4", "--to", "11")
    assert values(found) == [(4, 2), (5, 3), (9, 2), (10, 1), (11, 2)]
    assert (found["movements"], found["value"]) == (4, 2)
    found = await ready.json("history", "followersCount", A, "--from", "6", "--to", "8")
    assert values(found) == [(6, 3), (8, 3)]
    assert found["points"][0]["occurred_at"] == "2026-07-04T12:00:02Z"


async def test_the_terminal_shows_a_plot(ready: Place, database: Database) -> None:
    await append(database, STORY)
    told = (await ready.ok("history", "followersCount", A)).text
    lines = told.splitlines()
    assert lines[0] == f"profile_agg.followersCount of {A}, rows of follow"
    assert lines[1].startswith("3 ┤")
    assert lines[12].startswith("1 ┤")
    assert lines[14].split() == ["2026-07-04", "12:00:01", "2026-07-04", "12:00:13"]
    assert lines[15].strip() == "time of the events, UTC (12.000 seconds)"
    assert lines[16] == "2 at offset 13; 8 events moved it since offset 1."
    braille = {c for line in lines[1:13] for c in line if 0x2800 < ord(c) < 0x2900}
    assert len(braille) > 3


async def test_files_are_drawn_and_told_of(ready: Place, database: Database) -> None:
    await append(database, STORY)
    png, svg = ready.folder / "plot.png", ready.folder / "plot.svg"
    ended = await ready.ok("history", "followersCount", A, "--png", str(png), "--svg", str(svg))
    assert ended.text.splitlines() == [f"drawn to {png}", f"drawn to {svg}"]
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert b'id="counter"' in svg.read_bytes()


async def test_ranges_by_time(ready: Place, database: Database) -> None:
    await append(database, STORY)
    found = await ready.json(
        "history", "followersCount", A, "--from", "2020-01-01", "--to", "2099-01-01T00:00:00Z"
    )
    assert values(found) == VALUES
    ended = await ready.run("history", "followersCount", A, "--from", "2099-01-01")
    assert ended.code == 2
    assert "no event from 2099-01-01 to its end: its offsets are 1 to 13" in ended.complaint


async def test_what_it_refuses(ready: Place, database: Database, tmp_path: Path) -> None:
    await append(database, STORY)
    await project(database)
    ended = await ready.run("history", "followersCount", "did:plc:nobody")
    assert ended.code == 2
    assert "nothing ever counted for 'did:plc:nobody'" in ended.complaint
    ended = await ready.run("history", "followersCount", A, "--png", "plot.jpeg")
    assert ended.code == 2
    assert "the name of plot.jpeg must end with .png" in ended.complaint
