"""Headless Chromium, with pages that may raise no error and must not be wider than their window."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, async_playwright

SIZES = {"wide": (1200, 900), "phone": (390, 844)}


def chromium() -> str:
    """Debian's headless Chromium; skips the test where it is missing, but fails it when CI=true."""
    for name in ("chromium-headless-shell", "chromium"):
        if path := shutil.which(name):
            return path
    message = "needs Debian's chromium-headless-shell"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@asynccontextmanager
async def browsing() -> AsyncIterator[Browser]:
    """A browser, as long as it lasts."""
    path = chromium()
    async with async_playwright() as playwright:
        # Its sandbox needs rights that a container's root does not have.
        browser = await playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


class Opened:
    """A page that is open, and what its console has complained of."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda said: self._heard(said.type, said.text))

    def _heard(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    async def text(self, selector: str) -> str:
        return await self.page.inner_text(selector)

    async def until(self, condition: str, argument: object = None) -> None:
        """Waits until an expression of JavaScript is true; `argument` is its `x`."""
        await self.page.wait_for_function(f"x => {condition}", arg=argument, timeout=20_000)

    async def fits(self) -> bool:
        """Whether nothing stands out at the side."""
        width = "document.documentElement.scrollWidth <= innerWidth"
        return bool(await self.page.evaluate(width))


@asynccontextmanager
async def opened(
    browser: Browser, url: str, *, theme: str = "light", size: str = "wide"
) -> AsyncIterator[Opened]:
    """A page in a profile of its own."""
    width, height = SIZES[size]
    context = await browser.new_context(
        color_scheme="dark" if theme == "dark" else "light",
        viewport={"width": width, "height": height},
    )
    try:
        found = Opened(await context.new_page())
        await found.page.goto(url)
        yield found
    finally:
        await context.close()
