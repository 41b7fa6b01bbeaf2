"""The Redis that `projector up` starts: its data, its owner, its end."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from events.streams.link import RedisLink, place_name
from projector import embedded_redis
from projector.embedded_redis import EmbeddedRedis, EmbeddedUnavailable
from tests.support.redis_server import redis_binaries, require_redis


@pytest.fixture(params=sorted(redis_binaries()) or ["none"])
def binary(request: pytest.FixtureRequest) -> Path:
    require_redis()
    return redis_binaries()[request.param]


async def run(server: EmbeddedRedis, *words: str) -> object:
    link = RedisLink(server.url)
    try:
        return await link.run(*words)
    finally:
        await link.close()


async def pid(server: EmbeddedRedis) -> int:
    info = await run(server, "INFO", "server")
    assert isinstance(info, bytes)
    return int(info.split(b"process_id:")[1].split()[0])


async def test_keeps_its_data_and_its_name(tmp_path: Path, binary: Path) -> None:
    async with EmbeddedRedis(tmp_path / "redis", binary=binary) as server:
        await run(server, "SET", "key", "value")
        await server.start()
        assert await run(server, "CONFIG", "GET", "maxmemory-policy") == [
            b"maxmemory-policy",
            b"noeviction",
        ]
        # Ctrl-C goes to the session of the terminal.
        assert os.getsid(await pid(server)) != os.getsid(0)
    again = EmbeddedRedis(tmp_path / "redis", binary=binary)
    assert again.url == server.url
    async with again:
        assert await run(again, "GET", "key") == b"value"
        assert (tmp_path / "redis").stat().st_mode & 0o077 == 0
    await again.stop()
    assert not again.socket.exists()


async def test_one_owner_at_a_time(tmp_path: Path, binary: Path) -> None:
    async with EmbeddedRedis(tmp_path, binary=binary) as server:
        with pytest.raises(EmbeddedUnavailable, match="another process"):
            await EmbeddedRedis(tmp_path, binary=binary).start()
        assert await run(server, "PING") == b"PONG"


async def test_takes_over_from_an_owner_that_was_killed(tmp_path: Path, binary: Path) -> None:
    orphan = EmbeddedRedis(tmp_path, binary=binary)
    await orphan.start()
    await run(orphan, "SET", "key", "value")
    left = await pid(orphan)
    assert orphan._lock is not None
    orphan._lock.close()
    async with EmbeddedRedis(tmp_path, binary=binary) as server:
        assert await pid(server) != left
        assert await run(server, "GET", "key") == b"value"
    await orphan.stop()


async def test_starts_after_a_crash(tmp_path: Path, binary: Path) -> None:
    crashed = EmbeddedRedis(tmp_path, binary=binary)
    await crashed.start()
    await run(crashed, "CONFIG", "SET", "appendfsync", "always")
    await run(crashed, "SET", "key", "value")
    os.kill(await pid(crashed), signal.SIGKILL)
    await crashed.stop()
    assert crashed.socket.exists()
    async with EmbeddedRedis(tmp_path, binary=binary) as server:
        assert await run(server, "GET", "key") == b"value"


async def test_a_long_folder_gets_a_short_socket(tmp_path: Path, binary: Path) -> None:
    folder = tmp_path / ("a" * 60) / ("b" * 60)
    async with EmbeddedRedis(folder, binary=binary) as server:
        assert len(os.fsencode(server.socket)) < 104
        assert server.socket == EmbeddedRedis(folder).socket
        assert place_name(server.url, "s") == f"unix://{server.socket}?db=0&stream=s"
    server.socket.parent.rmdir()


async def test_says_why_it_does_not_start(tmp_path: Path, binary: Path) -> None:
    server = EmbeddedRedis(tmp_path, binary=binary, memory_bytes_max=-1)
    with pytest.raises(EmbeddedUnavailable, match="Redis ended at its start"):
        await server.start()


async def test_data_of_a_newer_redis_is_not_passed_over(tmp_path: Path, binary: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    server = EmbeddedRedis(tmp_path, binary=binary)
    if await embedded_redis._major_version(binary) >= 7:
        async with server:
            return
    with pytest.raises(EmbeddedUnavailable, match="Redis 7 or later"):
        await server.start()


def test_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EmbeddedUnavailable, match="install Redis"):
        embedded_redis.find_redis_servers()
