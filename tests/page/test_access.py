"""Who may read the status page, from where, and what happens where it cannot be served."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from projector.errors import UsageError
from projector.listen import listening
from projector.settings import Settings
from tests.support.cli import Place
from tests.support.harness import until
from tests.support.served import LISTEN, served_by
from tests.support.watch import Watch

TOKEN = "a-secret-of-forty-two"
BEYOND = ("0.0.0.0:7780", "192.0.2.1:7780", "[::]:7780", "projector.example:7780")
NEAR = ("127.0.0.1:7780", "localhost:7780", "[::1]:7780", "127.9.9.9:0")


@pytest.mark.parametrize("address", BEYOND)
def test_beyond_loopback_there_must_be_a_token(address: str) -> None:
    with pytest.raises(UsageError, match="PROJECTOR_STATUS_TOKEN"):
        listening(Settings(status_listen=address))
    assert str(listening(Settings(status_listen=address, status_token=TOKEN))) == address


@pytest.mark.parametrize("address", NEAR)
def test_on_loopback_there_need_be_none(address: str) -> None:
    assert str(listening(Settings(status_listen=address))) == address


def test_empty_means_nowhere_and_what_is_no_address_is_refused() -> None:
    assert listening(Settings(status_listen="")) is None
    for text in ("7780", "127.0.0.1", ":7780", "127.0.0.1:http", "127.0.0.1:70000"):
        with pytest.raises(UsageError, match="no address"):
            listening(Settings(status_listen=text))


async def test_every_command_that_serves_refuses(tmp_path: Path) -> None:
    place = Place(tmp_path, "--data-dir", str(tmp_path / "data"))
    commands = (["run"], ["ingest", "jetstream"], ["up"])
    ended = await asyncio.gather(
        *(place.run(*words, "--status-listen", "0.0.0.0:0") for words in commands)
    )
    assert [one.code for one in ended] == [2, 2, 2]
    assert all("beyond loopback" in one.complaint for one in ended)
    assert not (tmp_path / "data").exists()


async def test_the_token_opens_by_header_and_by_cookie_and_is_told_nowhere(
    ready: Place,
) -> None:
    env = {**LISTEN, "PROJECTOR_STATUS_TOKEN": TOKEN}
    async with ready.start("run", "--debug", env=env) as daemon:
        served = await served_by(daemon)
        for path in ("/", "/metrics", "/state", "/live", "/page.js", "/nothing"):
            assert (await served.get(path)).code == 401
        assert (await served.get("/metrics", {"authorization": f"Bearer {TOKEN}x"})).code == 401
        assert (await served.get("/metrics", {"authorization": f"Bearer {TOKEN}"})).code == 200
        assert (await served.get("/?token=wrong")).code == 401

        welcome = await served.get(f"//state?token={TOKEN}&a=b")
        assert (welcome.code, welcome.headers["location"]) == (303, "/state?a=b")
        cookie, *manners = welcome.headers["set-cookie"].split("; ")
        assert TOKEN not in cookie
        assert {"HttpOnly", "SameSite=strict"} <= set(manners)
        assert (await served.get("/state", {"cookie": cookie})).code == 200
        assert (await served.get("/state", {"cookie": f"{cookie}0"})).code == 401
        # From elsewhere it is read by other names, once there is a token.
        name = {"cookie": cookie, "host": "projector.example"}
        assert TOKEN not in (await served.get("/state", name)).body
        daemon.terminate()
        assert await daemon.code() == 0
        assert TOKEN not in daemon.said
    shown = await ready.ok("settings", "--json", env=env)
    assert TOKEN not in shown.text
    assert {s["flag"]: s["value"] for s in shown.json}["--status-token"] == "***"
    assert TOKEN not in repr(Settings(status_token=TOKEN))


async def test_without_a_token_only_this_machine_s_names_are_answered(ready: Place) -> None:
    async with ready.start("run", env=LISTEN) as daemon:
        served = await served_by(daemon)
        for host in ("127.0.0.1", "localhost:1", "[::1]:7780"):
            assert (await served.get("/state", {"host": host})).code == 200
        for host in ("projector.example", "127.0.0.1.example:80", "localhost.example", ""):
            assert (await served.get("/state", {"host": host})).code == 403
        page = await served.get("/")
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "://" not in policy
        assert (await served.get("/../settings.py")).code == 404


async def test_a_port_that_is_taken_stops_no_work(ready: Place, watch: Watch) -> None:
    await ready.ok("ingest", "generate:events=500,seed=3")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        async with ready.start("run", "--status-listen", listen) as daemon:
            await daemon.until_said(f"no status page at {listen}")
            await until(watch.is_caught_up)
            daemon.terminate()
            assert await daemon.code() == 0


async def test_readers_who_stay_do_not_hold_up_the_end(ready: Place) -> None:
    async with ready.start("run", env=LISTEN) as daemon:
        served = await served_by(daemon)
        host, port = served.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await writer.drain()
        async with asyncio.timeout(20):
            while b"event: state" not in await reader.readline():
                pass
        daemon.terminate()
        assert await daemon.code(seconds=15) == 0
        assert "Traceback" not in daemon.said
        writer.close()
