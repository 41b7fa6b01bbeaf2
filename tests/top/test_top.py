"""`projector top`: the page's content in a terminal of 80 by 24, over a real database."""

from __future__ import annotations

import html
import re
import sys
from subprocess import run

import pytest
from textual.pilot import Pilot
from textual.widgets import TabbedContent

from projector.database import Database
from projector.observer import Observer
from projector.terminal.app import Top
from projector.terminal.pictures import PICTURES
from projector.terminal.views import observed, paged
from tests.support.cli import Place, environment
from tests.support.engine import DECLARATIONS, project
from tests.support.harness import until
from tests.support.served import LISTEN, ingested, served_by
from tests.support.watch import Watch

EVENTS = 2_000
SOURCE = f"generate:events={EVENTS},seed=23,accounts=100,invalid=0.01"
SMALL = (80, 24)
TEXT = re.compile(r"<text[^>]*>(.*?)</text>")


def shown(app: Top) -> str:
    """The words on the screen."""
    parts = TEXT.findall(app.export_screenshot())
    return html.unescape(" ".join(parts)).replace("\xa0", " ")


async def until_shown(app: Top, pilot: Pilot[None], *texts: str) -> str:
    """Waits until the screen has these words; returns all."""

    async def has_all() -> str:
        await pilot.pause()
        words = shown(app)
        return words if all(text in words for text in texts) else ""

    return str(await until(has_all, seconds=30))


async def test_all_of_the_page_is_there_in_80_by_24(
    ready: Place, database: Database, watch: Watch
) -> None:
    await ingested(database, SOURCE)
    await project(database)
    async with observed(Observer(database, DECLARATIONS, seconds=0.2)) as views:
        app = Top(views)
        async with app.run_test(size=SMALL) as pilot:
            words = await until_shown(app, pilot, "All 6 projections are in step")
            said = (await ready.json("status"))["sentence"]
            for clause in said.rstrip(".").split("; "):
                assert clause.partition(", 0.0 s")[0].partition(": projector")[0] in words
            for i, name in enumerate(PICTURES, 1):
                assert f"{i} {name}" in re.sub(r" +", " ", words)
            expected = {
                "1": ("event log", f"{EVENTS:,}", "profile_agg"),
                "2": ("checkpoint", "repost"),
                "3": ("generate:events=2000", "heard"),
                "4": ("invalid-record", "the newest"),
                "5": ("accounts proven",),
                "6": ("projector top --page",),
                "7": ("the whole database", "free on the disk"),
            }
            for key, texts in expected.items():
                await pilot.press(key)
                assert app.query_one(TabbedContent).active == list(PICTURES)[int(key) - 1]
                await until_shown(app, pilot, *texts)

            # It is live: what comes is seen without a key.
            await pilot.press("1")
            await ingested(database, "generate:events=700,seed=4")
            await until_shown(app, pilot, f"{EVENTS + 700:,}", "run by nobody", "projector run")
            await pilot.press("t")
            assert app.theme == "textual-light"
            await pilot.press("q")
        assert app.return_code == 0


async def test_the_page_of_a_daemon_tells_more(ready: Place, watch: Watch) -> None:
    await ready.ok("ingest", SOURCE)
    async with ready.start("run", env=LISTEN) as daemon:
        served = await served_by(daemon)
        await until(watch.is_caught_up)
        app = Top(paged(served.url, ""))
        async with app.run_test(size=SMALL) as pilot:
            await pilot.press("6")
            await until_shown(app, pilot, "followersCount gained", "did:plc:")
            daemon.kill()
            await daemon.code()
            await until_shown(app, pilot, "does not answer")


async def test_one_look_as_json_and_what_is_refused(ready: Place) -> None:
    state = await ready.json("top")
    assert state["sentence"] == (await ready.json("status"))["sentence"]
    assert "a terminal; here is none: projector status" in (await ready.run("top")).complaint
    told = await ready.run("top", "--page", "localhost", "--json")
    assert (told.code, "is no address of a page" in told.complaint) == (2, True)
    away = await ready.run("top", "--page", "http://127.0.0.1:9", "--json")
    assert (away.code, "does not answer" in away.complaint) == (3, True)


def test_without_textual_it_says_what_to_install() -> None:
    hidden = (
        "import sys; sys.modules['textual'] = None; from projector.cli import main; main(['top'])"
    )
    done = run([sys.executable, "-c", hidden], env=environment(), capture_output=True, check=False)
    assert done.returncode == 2
    assert b"pip install 'atproto-projector[top]'" in done.stderr
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("width", [80, 140])
async def test_nothing_is_drawn_beyond_the_edge(
    database: Database, ready: Place, width: int
) -> None:
    async with observed(Observer(database, DECLARATIONS, seconds=0.2)) as views:
        app = Top(views)
        async with app.run_test(size=(width, 24)) as pilot:
            await until_shown(app, pilot, "All 6 projections")
            assert app.screen.max_scroll_x == 0
