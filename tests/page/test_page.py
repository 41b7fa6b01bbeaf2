"""The status page in a browser: what it tells, live, in both themes and on a phone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from projector.database import Database
from tests.support import lines
from tests.support.browser import Opened, browsing, opened
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.served import LISTEN, ingested, served_by
from tests.support.watch import Watch

EVENTS = 2000
SOURCE = f"generate:events={EVENTS},seed=23,accounts=100,invalid=0.01"
HOSTILE = "</pre><img src=x onerror=\"document.title='owned'\"><script>alert(1)</script>"
GROUND = "getComputedStyle(document.body).backgroundColor"


@pytest.fixture
async def filled(ready: Place, database: Database, tmp_path: Path) -> Place:
    """A log with events, the last of them a bad record that would like to run in the page."""
    await ingested(database, SOURCE)
    bad = lines.commit(1, {"text": HOSTILE}, collection="app.bsky.feed.post")
    await ingested(database, lines.write(tmp_path / "bad.jsonl", [bad]))
    return ready


async def test_it_tells_what_status_tells_in_both_themes_and_on_a_phone(
    filled: Place, watch: Watch
) -> None:
    async with filled.start("run", env=LISTEN) as daemon, browsing() as browser:
        served = await served_by(daemon)
        await until(watch.is_caught_up)
        letters = await watch.count("SELECT count(*) FROM projector.dead_letter")
        grounds = set()
        for theme, size in (("light", "wide"), ("dark", "wide"), ("dark", "phone")):
            async with opened(browser, served.url, theme=theme, size=size) as it:
                await expect(it.page.locator("#sentence")).to_contain_text(
                    f"All 6 projections are in step with the log: {EVENTS + 1:,} events"
                )
                await expect(it.page.locator("#seen")).to_have_text("live")
                projections = await it.page.locator("#projections tbody tr").all_inner_texts()
                assert [text.split()[0] for text in projections] == [
                    at["name"] for at in (await filled.json("status"))["projections"]
                ]
                assert await it.page.locator("#pipeline .node").count() == 8
                await expect(it.page.locator(".plot svg")).to_have_count(3)
                assert await it.fits()
                assert it.complaints == []
                grounds.add((theme, await it.page.evaluate(GROUND)))
                await assert_text_is_only_text(it, letters)
        assert len(grounds) == 2


async def assert_text_is_only_text(it: Opened, letters: int) -> None:
    shown = it.page.locator("#letters details")
    await expect(shown).to_have_count(min(letters, 20))
    hostile = shown.filter(has_text=f"offset {EVENTS + 1:,}")
    await hostile.locator("summary").click()
    await expect(hostile.locator("pre")).to_contain_text("<script>alert(1)</script>")
    assert await it.page.locator("#letters img, #letters script").count() == 0
    assert "owned" not in await it.page.title()
    assert it.complaints == []


async def test_it_follows_the_work_without_being_loaded_again(
    filled: Place, database: Database, watch: Watch
) -> None:
    async with filled.start("run", env=LISTEN) as daemon, browsing() as browser:
        served = await served_by(daemon)
        async with opened(browser, served.url) as it:
            tile = it.page.locator("#tiles b").first
            await expect(tile).to_have_text(f"{EVENTS + 1:,}", timeout=20_000)
            await it.page.evaluate("document.marked = true")
            await ingested(database, "generate:events=700,seed=4")
            await expect(tile).to_have_text(f"{EVENTS + 701:,}", timeout=20_000)

            # What the command says and what the page says is the same sentence.
            await until(watch.is_caught_up)
            said = (await filled.json("status"))["sentence"].rstrip(".").split("; ")
            await expect(it.page.locator("#more li")).to_have_text(said[1:])
            await expect(it.page.locator("#more code")).to_have_text("projector dead-letters list")

            # The switch is remembered.
            before = await it.page.evaluate(GROUND)
            await it.page.click("#theme")
            assert await it.page.evaluate(GROUND) != before
            assert await it.page.evaluate("document.marked")
            await it.page.reload()
            assert await it.page.evaluate(GROUND) != before

            # Who looks at a page of the past is told so.
            await expect(it.page.locator("#seen")).to_have_text("live", timeout=20_000)
            assert it.complaints == []
            daemon.kill()
            await expect(it.page.locator("#seen")).to_contain_text("no word", timeout=30_000)


async def test_a_projection_that_nobody_runs_is_said_with_what_to_type(filled: Place) -> None:
    async with filled.start("run", "like", env=LISTEN) as daemon, browsing() as browser:
        served = await served_by(daemon)
        async with opened(browser, served.url, size="phone") as it:
            sentence = it.page.locator("#sentence")
            await expect(sentence).to_contain_text("run by nobody", timeout=20_000)
            await expect(sentence.locator("code")).to_have_text("projector run")
            assert await it.page.get_attribute("body", "data-level") == "bad"
            # As soon as the daemon has taken the one that it was told to run.
            await expect(sentence).not_to_have_text(re.compile(r"\blike\b"), timeout=20_000)
            assert await it.fits()
