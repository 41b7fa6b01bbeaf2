"""Daemons side by side: one owner for each projection, replaced when it goes, and never doubled."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.support.cli import Place, Running
from tests.support.harness import until
from tests.support.watch import Watch

SOURCE = "generate:events={},seed=51,accounts=400,duplicates=0.01"

FOREVER = "3600"
"""A lease, in seconds, that would not run out while a test lasts."""

WORKING = """
SELECT state, coalesce(wait_event_type = 'Client', false) FROM pg_stat_activity
WHERE application_name LIKE 'projector/apply %' AND datname = current_database()
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'projector/apply %' AND wait_event_type = 'Lock'
    AND datname = current_database()
"""


async def owned_by(watch: Watch, running: Running, projections: int = 6) -> None:
    """Waits until one daemon has so many projections and nobody else any."""
    await until(lambda: watch.owned_by(running.pid, projections), seconds=30)


async def finish(place: Place, watch: Watch, events: int, *daemons: Running) -> None:
    """Lets the daemons catch up and ends them in good order; every count is exact."""
    assert await watch.head() == events
    await until(watch.is_caught_up, seconds=90)
    for daemon in daemons:
        daemon.terminate()
    for daemon in daemons:
        assert await daemon.code() == 0, daemon.said
    assert (await place.json("verify"))["differences"] == []
    assert await watch.owners() == {}


async def test_three_daemons_share_the_work(place: Place, watch: Watch) -> None:
    events = 15_000
    async with (
        place.start("run", "--window-events-max", "300") as first,
        place.start("run", "--window-events-max", "500") as second,
        place.start("run", "like", "post", "post_agg", "--window-events-max", "700") as third,
    ):
        daemons = {daemon.pid: daemon for daemon in (first, second, third)}
        await until(lambda: has_owners(watch, 6), seconds=30)
        ingest = place.start("ingest", SOURCE.format(events))
        async with ingest:
            # Whoever owns most goes away twice, while there is work.
            for moment in (4_000, 30_000):
                await watch.until(watch.progress, moment)
                owners = list((await watch.owners()).values())
                pid = max(daemons, key=owners.count)
                gone = daemons.pop(pid)
                gone.terminate()
                assert await gone.code() == 0, gone.said
                await until(lambda pid=pid: has_owners(watch, 6 if len(daemons) > 1 else 3, pid),
                            seconds=30)  # fmt: skip
            assert await ingest.code() == 0, ingest.said
        async with place.start("run") as last:
            await finish(place, watch, events, *daemons.values(), last)


async def has_owners(watch: Watch, projections: int, gone: int = 0) -> bool:
    owners = await watch.owners()
    return len(owners) >= projections and gone not in owners.values()


async def test_a_lease_is_given_back_at_once(place: Place, watch: Watch) -> None:
    async with place.start("run", "--lease-seconds", FOREVER) as first:
        await owned_by(watch, first)
        async with place.start("run") as second:
            await until(lambda: are_two(watch), seconds=30)
            first.terminate()
            assert await first.code() == 0, first.said
            await owned_by(watch, second)
            second.terminate()
            assert await second.code() == 0, second.said
    assert await watch.owners() == {}


async def test_a_daemon_that_is_killed_is_replaced_before_its_lease_ends(
    place: Place, watch: Watch
) -> None:
    async with place.start("run", "--lease-seconds", FOREVER) as first:
        await owned_by(watch, first)
        async with place.start("run") as second:
            await until(lambda: are_two(watch), seconds=30)
            first.kill()
            await first.code()
            await owned_by(watch, second)
            await place.ok("ingest", SOURCE.format(2000))
            await finish(place, watch, 2000, second)


async def are_two(watch: Watch) -> bool:
    """Whether a second daemon is there and looks for leases."""
    return await watch.count(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'projector/leases'"
        " AND datname = current_database()"
    ) == 2  # fmt: skip


@pytest.mark.parametrize("where", ["between", "within"])
async def test_an_owner_that_sleeps_past_its_lease_counts_nothing_twice(
    place: Place, watch: Watch, where: str
) -> None:
    """It sleeps between two windows, or with one half applied, and believes to own them still."""
    events = 16_000
    await place.ok("ingest", SOURCE.format(events))
    words = ["run", "--lease-seconds", "1", "--window-events-max", "200"]
    async with place.start(*words) as sleeper:
        await watch.until(watch.progress, events + 1000)
        await asleep(watch, sleeper, within=where == "within")
        assert await watch.tables_at() < events
        async with place.start(*words) as heir:
            await owned_by(watch, heir)
            if where == "between":
                await until(watch.is_caught_up, seconds=60)
            else:
                # It waits for what the sleeper has locked.
                await until(lambda: watch.value(WAITING), seconds=30)
            assert sleeper.is_running
            sleeper.send(signal.SIGCONT)
            await finish(place, watch, events, sleeper, heir)


async def asleep(watch: Watch, daemon: Running, *, within: bool) -> None:
    """Stops a daemon where no transaction of its is open, or where one that applies is."""

    async def quiet() -> list[str] | None:
        rows = await watch.rows(WORKING)
        return [state for state, _ in rows] if all(waits for _, waits in rows) else None

    async with asyncio.timeout(60):
        while True:
            daemon.send(signal.SIGSTOP)
            states = await until(quiet)
            if "idle in transaction" in states if within else {*states} == {"idle"}:
                return
            before = await watch.progress()
            daemon.send(signal.SIGCONT)
            await watch.until(watch.progress, before + 1)
