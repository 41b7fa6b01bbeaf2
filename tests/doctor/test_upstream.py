"""What is wrong with a source: real hosts, real Redis servers, a file; and the command."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from projector.doctor import upstream
from projector.doctor.finding import Finding
from tests.completeness.upstream import LIKE, commit, now_us
from tests.doctor.conftest import names, one
from tests.support.cli import Place
from tests.support.jetstream_server import Fault, JetstreamServer
from tests.support.redis_server import RedisServer, redis_binaries, require_redis


async def looked(source: str, clock_ahead: float = 0.0) -> list[Finding]:
    return await upstream.check(source, "projector", lambda: time.time() + clock_ahead)


async def saying(server: JetstreamServer, line: bytes, clock_ahead: float = 0.0) -> list[Finding]:
    """What is found of a host that says this to whoever has come."""

    async def say() -> None:
        await server.until(lambda: any(c.open for c in server.connections))
        server.append(line)

    server.connections.clear()
    found, _ = await asyncio.gather(looked(server.url, clock_ahead), say())
    return found


async def test_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    async with JetstreamServer() as server:
        assert await saying(server, commit(1, LIKE)) == []
        old = commit(2, LIKE, time_us=now_us() - 100_000_000)
        assert "100 s behind" in one(await saying(server, old), "behind").cause
        ahead = await saying(server, commit(3, LIKE), clock_ahead=-60.0)
        assert "ahead of our clock" in one(ahead, "clock").cause
        monkeypatch.setattr(upstream, "SECONDS_MAX", 1.0)
        assert names(await looked(server.url)) == {"silent": "warn"}
        server.faults = [Fault(refuse=503)] * 10
        refused = one(await looked(server.url), "unreachable")
        assert "HTTP 503" in refused.cause
        url = server.url
    gone = one(await looked(url), "unreachable")
    assert (gone.severity, "cannot be reached" in gone.cause) == ("bad", True)


async def test_redis_as_nobody_should_have_it(tmp_path: Path) -> None:
    require_redis()
    binary = next(iter(redis_binaries().values()))
    async with RedisServer(binary, tmp_path / "redis") as server:
        source = f"{server.url}?stream=live"
        run = server.run
        assert names(await looked(source)) == {"no-limit": "warn"}
        await run("CONFIG", "SET", "maxmemory", "1gb")
        assert await looked(source) == []
        await run("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        await run("CONFIG", "SET", "appendfsync", "no")
        found = await looked(source)
        assert names(found) == {"policy": "bad", "fsync": "warn"}
        for finding in found:
            await run(*finding.cure.split())  # The cure cures.
        await run("CONFIG", "SET", "appendonly", "no")
        found = await looked(source)
        assert names(found) == {"persistence": "warn"}
        await run(*found[0].cure.split())
        await run("SET", "live", "x")
        assert names(await looked(source)) == {"no-stream": "bad"}
        await run("DEL", "live")
        await run("SET", "ballast", "x" * 10_000_000)
        await run("CONFIG", "SET", "maxmemory", "11mb")
        assert names(await looked(source))["full"] in ("warn", "bad")
        await run("REPLICAOF", "127.0.0.1", "1")
        assert names(await looked(source))["replica"] == "bad"
        await run("REPLICAOF", "NO", "ONE")
        await run("CONFIG", "SET", "requirepass", "a-secret")
        denied = one(await looked(source), "unreachable")
        await run("AUTH", "a-secret")
    assert "password" in denied.cure
    gone = one(await looked(source.replace("redis://", "redis://:a-secret@")), "unreachable")
    assert "a-secret" not in gone.cause


async def test_files(tmp_path: Path) -> None:
    assert names(await looked(f"file:{tmp_path}/none.jsonl")) == {"unreadable": "bad"}
    (tmp_path / "some.jsonl").write_text("{}")
    assert await looked(f"file:{tmp_path}/some.jsonl") == []
    assert await looked("generate:events=1") == []


async def test_the_command_ends_with_1_and_tells_no_secret(ready: Place) -> None:
    env = {"PROJECTOR_DATABASE_URL": ""}
    words = ("doctor", "redis://me:hunter2@127.0.0.1:1/0?stream=live")
    told = await ready.run(*words)
    assert told.code == 1
    assert "does not answer" in told.text
    assert "things are wrong" in told.complaint
    asked = await ready.run(*words, "--json")
    assert asked.code == 1
    found = asked.json["findings"]
    assert {"area", "name", "severity", "cause", "cure"} == set(found[0])
    assert [f["severity"] for f in found] == sorted(
        (f["severity"] for f in found), key=["bad", "warn", "note", "good"].index
    )
    assert asked.json["wrong"] == sum(f["severity"] in ("bad", "warn") for f in found)
    nowhere = "postgresql://me:hunter2@127.0.0.1:1/x?password=hunter2"
    lost = await Place(ready.folder, "--database", nowhere).run("doctor", env=env)
    assert (lost.code, "start the server" in lost.text) == (1, True)
    for ended in (told, asked, lost):
        assert "hunter2" not in ended.text + ended.err
    assert (await ready.run("doctor", "nonsense")).code == 2
