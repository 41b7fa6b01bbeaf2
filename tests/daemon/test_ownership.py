"""Daemons side by side: one owner for each projection, replaced when it goes, and never doubled."""

from __future__ import annotations

import signal

from tests.support.cli import Place, Running
from tests.support.harness import until
from tests.support.watch import Watch

SOURCE = "generate:events={},seed=51,accounts=400,duplicates=0.01"

FOREVER = "3600"
"""A lease, in seconds, that would not run out while a test lasts."""

LIKES = ("run", "like", "--lease-seconds", "1", "--window-events-max", "200")

WORKING = """
SELECT state, wait_event_type FROM pg_stat_activity
WHERE application_name LIKE 'projector/apply %' AND datname = current_database()
"""
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE application_name LIKE 'projector/apply %' AND wait_event_type = 'Lock'
    AND datname = current_database()
"""


async def owned_by(watch: Watch, running: Running, projections: int = 6) -> None:
    """Waits until one daemon has so many projections and nobody else any."""
    await until(lambda: watch.owned_by(running.pid, projections), seconds=60)


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
        await until(lambda: has_owners(watch, 6), seconds=60)
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
                            seconds=60)  # fmt: skip
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
            await until(lambda: are_two(watch), seconds=60)
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
            await until(lambda: are_two(watch), seconds=60)
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


async def test_an_owner_that_sleeps_past_its_lease_does_nothing_again(
    place: Place, watch: Watch
) -> None:
    """It sleeps between two windows, and wakes up believing to own what another has moved on."""
    await place.ok("ingest", SOURCE.format(2000))
    async with place.start(*LIKES) as sleeper:
        await watch.until(lambda: watch.checkpoint("like"), 2000)
        await until(lambda: is_state(watch, "idle"))
        sleeper.send(signal.SIGSTOP)
        await place.ok("ingest", SOURCE.format(4000))
        async with place.start(*LIKES) as heir:
            await owned_by(watch, heir, projections=1)
            await watch.until(lambda: watch.checkpoint("like"), 6000)
            assert sleeper.is_running
            sleeper.send(signal.SIGCONT)
            await sleeper.until_said("another daemon applied the window")
            async with place.start("run") as rest:
                await finish(place, watch, 6000, sleeper, heir, rest)


async def test_an_owner_that_sleeps_within_a_window_counts_it_once(
    place: Place, watch: Watch
) -> None:
    """What it has locked holds back the heir; then one of the two commits, and only one."""
    await place.ok("ingest", SOURCE.format(4000))
    async with Watch(watch.url) as holder:
        await holder.execute("BEGIN")
        await holder.execute('LOCK TABLE bsky."like"')
        async with place.start(*LIKES) as sleeper:
            await until(lambda: watch.value(WAITING), seconds=60)
            sleeper.send(signal.SIGSTOP)
            await holder.execute("COMMIT")
            await until(lambda: is_state(watch, "idle in transaction", "active"))
            async with place.start(*LIKES) as heir:
                await owned_by(watch, heir, projections=1)
                await until(lambda: watch.value(WAITING), seconds=60)
                assert await watch.checkpoint("like") == 0
                sleeper.send(signal.SIGCONT)
                await heir.until_said("another daemon applied the window")
                async with place.start("run") as rest:
                    await finish(place, watch, 4000, sleeper, heir, rest)


async def is_state(watch: Watch, *states: str) -> bool:
    """Whether the backend that applies is in one of the states, and waits for its daemon.

    It may be active and wait: between the messages of which one statement is made.
    """
    ((state, waits_for),) = await watch.rows(WORKING)
    return state in states and waits_for == "Client"


TO_SOMEBODY = """
UPDATE projector.lease SET owner = 'somebody:0:0', backend_pid = pg_backend_pid(),
    backend_start = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()),
    until = clock_timestamp() + interval '3 seconds'
WHERE name = 'projection like'
"""


async def test_who_works_on_takes_its_lease_back_from_a_sleeper(place: Place, watch: Watch) -> None:
    """Found by a soak: a daemon took leases and was stopped before it applied anything; the other
    worked on, and said for good that nobody owned what it applied."""
    async with place.start("run", *LIKES[1:]) as daemon:
        await until(lambda: watch.owned_by(daemon.pid, 1), seconds=60)
        await watch.execute(TO_SOMEBODY)
        await daemon.until_said("projection like was taken by another")
        await until(lambda: watch.owned_by(daemon.pid, 1))
        ingest = place.start("ingest", SOURCE.format(1_000))
        async with ingest:
            assert await ingest.code() == 0, ingest.said
        daemon.terminate()
        assert await daemon.code() == 0, daemon.said
        assert await watch.owners() == {}
