"""What the page shows of completeness, in a browser."""

from __future__ import annotations

from playwright.async_api import expect

from projector.completeness import ProbeReport, Share, put_report
from projector.database import Database
from tests.completeness.upstream import LIKE, POST
from tests.support.browser import browsing, opened
from tests.support.cli import Place
from tests.support.served import LISTEN, served_by
from tests.support.watch import Watch

QUIET = """
INSERT INTO projector.rate
SELECT 'jetstream', c, s, (extract(epoch FROM now())::bigint - n * s) / s * s, 60 * s,
    ((extract(epoch FROM now()) - n * s) * 1000000)::bigint
FROM unnest(ARRAY['', 'app.bsky.graph.follow']) AS c, unnest(ARRAY[60, 3600]) AS s,
    generate_series(0, 130) AS n
WHERE (s = 60 OR n < 24) AND (c = '' OR n * s > 1200)
"""
USED = """
INSERT INTO projector.source_cursor (source, cursor, updated_at)
VALUES ('jetstream', '1', now() + interval '1 hour')
"""
OWNED = """
INSERT INTO projector.lease SELECT 'source jetstream', 'host:1', pid, backend_start,
    now() + interval '1 hour' FROM pg_stat_activity WHERE pid = pg_backend_pid()
"""


async def test_what_is_missing_and_what_is_silent(
    ready: Place, database: Database, watch: Watch
) -> None:
    shares = [
        Share(name=LIKE, seen=1000, missing=998, missing_since=1_764_424_920.0),
        Share(name=POST, seen=40, expected=40),
    ]
    report = ProbeReport(
        upstream="wss://other.test/subscribe", begun_at=1_764_424_900.0, listened_seconds=60.0,
        grace_seconds=30.0, looked_at=1.0, behind_seconds=0.0, not_applied=0, collections=shares,
        hosts=[], samples=[],
    )  # fmt: skip
    connection = await database.connect("test")
    await put_report(connection, report)
    await connection.close()
    for statement in (QUIET, USED, OWNED):
        await watch.execute(statement)
    async with ready.start("run", env=LISTEN) as daemon, browsing() as browser:
        served = await served_by(daemon)
        async with opened(browser, served.url, size="phone") as it:
            complete = it.page.locator("#complete tbody tr")
            await expect(complete).to_have_count(2, timeout=20_000)
            assert (await complete.first.inner_text()).split()[:4] == [
                "feed.like",
                "1,000",
                "998",
                "0",
            ]
            await expect(it.page.locator("#silences tbody tr")).to_have_count(1)
            await expect(it.page.locator("#silences")).to_contain_text("graph.follow")
            await expect(it.page.locator("#sentence")).to_contain_text(f"99.8 % of {LIKE} records")
            assert await it.page.get_attribute("body", "data-level") == "bad"
            assert await it.fits()
            assert it.complaints == []
