"""SIGTERM: what was begun is finished, nothing is lost; a second signal, or the deadline, ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.cli import Place
from tests.support.watch import Watch

ENDLESS = "generate:seed=11,accounts=300"
STOPPED_HARD = 130
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name = 'projector/apply like' AND wait_event_type = 'Lock'
    AND datname = current_database()
"""


async def test_ingest_stops_between_two_batches(ready: Place, watch: Watch) -> None:
    ends: list[int] = []
    for _ in range(2):
        before = await watch.head()
        async with ready.start("ingest", ENDLESS, "--batch-events-max", "200") as running:
            await watch.until(watch.head, before + 600)
            running.terminate()
            assert await running.code() == 0, running.said
        ends.append(await watch.head())
        # The source's cursor says how many events were handed over.
        assert await watch.value("SELECT cursor FROM projector.source_cursor") == str(ends[-1])
    assert ends[1] > ends[0]
    ((least, most, count),) = await watch.rows(
        "SELECT min(log_offset), max(log_offset), count(*) FROM projector.event_log"
    )
    assert (least, most, count) == (1, ends[1], ends[1])


async def test_run_stops_between_two_windows(ready: Place, watch: Watch) -> None:
    events = 12_000
    await ready.ok("ingest", f"{ENDLESS},events={events}")
    async with ready.start("run", "--window-events-max", "100") as running:
        await watch.until(watch.tables_at, 500)
        running.terminate()
        assert await running.code() == 0, running.said
    assert 500 <= await watch.tables_at() < events
    assert await watch.owners() == {}
    assert (await ready.json("verify"))["differences"] == []
    await ready.ok("run", "--until-caught-up")
    assert await watch.is_caught_up()
    assert (await ready.json("verify"))["differences"] == []


async def test_up_stops_and_continues(place: Place, watch: Watch, tmp_path: Path) -> None:
    events = 20_000
    words = ["up", f"{ENDLESS},events={events},rate=8000", "--data-dir", str(tmp_path / "data")]
    async with place.start(*words) as running:
        await running.until_said("→")
        await watch.until(watch.progress, 4000)
        running.terminate()
        assert await running.code() == 0, running.said
        assert "the same command continues" in running.said
    assert await watch.head() < events
    await place.ok(*words, "--until-caught-up")
    assert await watch.head() == events
    assert await watch.is_caught_up()
    assert (await place.json("verify"))["differences"] == []


@pytest.mark.parametrize("how", ["second", "deadline"])
async def test_what_cannot_be_finished_is_broken_off(ready: Place, watch: Watch, how: str) -> None:
    """A window waits for a lock that nobody gives back: the soft stop takes for ever."""
    await ready.ok("ingest", f"{ENDLESS},events=500")
    async with Watch(watch.url) as holder:
        await holder.execute("BEGIN")
        await holder.execute('LOCK TABLE bsky."like"')
        seconds = "0.5" if how == "deadline" else "60"
        async with ready.start("run", "--stop-seconds", seconds) as running:
            await watch.until(lambda: watch.count(WAITING), 1)
            running.terminate()
            await running.until_said("stopping")
            if how == "second":
                assert running.is_running
                running.terminate()
            assert await running.code() == STOPPED_HARD, running.said
            assert "Traceback" not in running.said
    await ready.ok("run", "--until-caught-up")
    assert (await ready.json("verify"))["differences"] == []
    assert await watch.checkpoint("like") == 500
