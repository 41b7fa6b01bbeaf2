"""What systemd is told over a real datagram socket: ready, how it goes, alive, stopping."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from projector.notify import Supervisor, supervised
from projector.pulse import Pulse
from projector.settings import Settings
from tests.support.cli import Place
from tests.support.clock import Clock
from tests.support.harness import until
from tests.support.proxy import Proxy, to_socket
from tests.support.served import LISTEN, served_by
from tests.support.systemd import Systemd
from tests.support.watch import Watch

SOURCE = "generate:events={},seed=5,accounts=100"


async def test_daemons_say_when_they_own_or_await_their_projections(
    place: Place, watch: Watch, tmp_path: Path
) -> None:
    await place.ok("ingest", SOURCE.format(500))
    with Systemd(tmp_path / "a") as one, Systemd(tmp_path / "b") as other:
        async with place.start("run", env=one.environment) as owner:
            assert await one.hears("READY=1") == "READY=1"
            # Not before: there is nobody who would wait for a lease of theirs.
            assert len(await watch.owners()) == 6
            assert await one.hears("STATUS=Runs 6 of 6 projections; in step")
            async with place.start("run", env=other.environment) as standby:
                assert await other.hears("READY=1")
                assert await other.hears("STATUS=Runs 0 of 6 projections, stands by")
                for _ in range(3):
                    await other.hears("WATCHDOG=1")
                owner.terminate()
                assert await one.hears("STOPPING=1")
                assert await owner.code() == 0
                assert await other.hears("STATUS=Runs 6 of 6 projections")
                standby.terminate()
                assert await standby.code() == 0
        assert one.heard.index("READY=1") == 0


async def test_ingest_is_ready_once_it_has_its_source(place: Place, tmp_path: Path) -> None:
    with Systemd(tmp_path / "s") as systemd:
        source = "generate:seed=5,rate=2000"
        async with place.start("ingest", source, env=systemd.environment) as daemon:
            assert await systemd.hears("READY=1")
            assert "events from generate:" in await systemd.hears("STATUS=")
            await systemd.hears("WATCHDOG=1")
            daemon.terminate()
            assert await systemd.hears("STOPPING=1")
            assert await daemon.code() == 0


async def test_a_daemon_is_fed_for_while_its_server_is_away(
    place: Place, database_url: str, tmp_path: Path
) -> None:
    folder = parse_qs(urlsplit(database_url).query)["host"][0]
    name = urlsplit(database_url).path
    with Systemd(tmp_path / "s") as systemd:
        async with Proxy(to_socket(f"{folder}/.s.PGSQL.5432")) as proxy:
            url = f"postgresql://postgres@127.0.0.1:{proxy.port}{name}?sslmode=disable"
            away = Place(tmp_path, "--database", url, "--backoff-seconds-max", "0.2")
            async with away.start("run", env=systemd.environment) as daemon:
                assert await systemd.hears("READY=1")
                proxy.hold()
                proxy.cut()
                await daemon.until_said("trying again")
                systemd.waiting()
                for _ in range(5):
                    await systemd.hears("WATCHDOG=1")
                assert daemon.is_running
                daemon.kill()


async def test_a_stuck_loop_stops_feeding_until_it_gets_on(tmp_path: Path) -> None:
    clock = Clock()
    pulse = Pulse(clock)
    stop = asyncio.Event()
    with Systemd(tmp_path / "s", watchdog_seconds=0.06) as systemd:
        supervisor = Supervisor(systemd.environment)
        looks = 0

        def has_work() -> bool:
            nonlocal looks
            looks += 1
            return True

        async def has_looked(since: int) -> bool:
            return looks >= since + 5

        with pulse.watched("like", has_work, "apply like"):
            async with supervised(
                Settings(), stop, lambda: "Fine.", is_ready=lambda: True,
                supervisor=supervisor, pulse=pulse,
            ):  # fmt: skip
                await systemd.hears("WATCHDOG=1")
                clock.now += Settings().command_timeout_seconds + 61
                assert await systemd.hears("STATUS=Stuck") == "STATUS=Stuck: like."
                since = looks
                await until(lambda: has_looked(since))
                assert "WATCHDOG=1" not in systemd.waiting()
                pulse.beat("apply like")
                await systemd.hears("STATUS=Fine.")
                await systemd.hears("WATCHDOG=1")
                stop.set()
                await systemd.hears("STOPPING=1")


async def test_a_blocked_process_feeds_nobody(tmp_path: Path) -> None:
    with Systemd(tmp_path / "s", watchdog_seconds=0.06) as systemd:
        async with supervised(
            Settings(), asyncio.Event(), lambda: "Fine.", is_ready=lambda: True,
            supervisor=Supervisor(systemd.environment), pulse=Pulse(),
        ):  # fmt: skip
            await systemd.hears("WATCHDOG=1")
            systemd.waiting()
            time.sleep(0.3)  # noqa: ASYNC251 - what the test is about.
            assert systemd.waiting() == []


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, 0.0),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0.0),
        ({"WATCHDOG_USEC": "soon"}, 0.0),
    ],
)
def test_a_watchdog_is_fed_where_it_is_ours(environment: dict[str, str], seconds: float) -> None:
    assert Supervisor(environment).watchdog_seconds == seconds


async def test_who_is_supervised_by_nobody_tells_nobody() -> None:
    for address in ({}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}):
        async with supervised(
            Settings(), asyncio.Event(), lambda: "Fine.", supervisor=Supervisor(address)
        ):
            await asyncio.sleep(0)


async def test_a_supervisor_that_is_gone_stops_no_work(place: Place, tmp_path: Path) -> None:
    env = {"NOTIFY_SOCKET": str(tmp_path / "nowhere"), "WATCHDOG_USEC": "300000"}
    async with place.start("run", env=env) as daemon:
        await daemon.until_said("systemd is not told READY=1")
        daemon.send(signal.SIGTERM)
        assert await daemon.code() == 0


async def test_health_is_answered_to_whoever_asks_this_machine(
    place: Place, tmp_path: Path
) -> None:
    env = {**LISTEN, "PROJECTOR_STATUS_TOKEN": "s3cret"}
    async with place.start("run", env=env) as daemon:
        served = await served_by(daemon)
        answer = await served.get("/health")
        assert (answer.code, answer.body) == (200, "ok\n")
        where = urlsplit(served.url).netloc
        for listen, code in ((where, 0), ("127.0.0.1:1", 1)):
            asked = await healthy(listen)
            assert asked == code
        daemon.terminate()
        assert await daemon.code() == 0


async def healthy(listen: str) -> int:
    """The exit code of what a container's health check runs."""

    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "projector.healthy",
        env={"PROJECTOR_STATUS_LISTEN": listen}, stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    return await process.wait()
