"""TLS to Postgres, Redis and upstream: real servers, certificates that fit and that do not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from events.streams.link import RedisLink
from projector.database import Database
from projector.errors import CannotConnect
from tests.support.cli import Place
from tests.support.jetstream_server import JetstreamServer
from tests.support.lines import commit, tid
from tests.support.proxy import Proxy, to_port
from tests.support.records import follow
from tests.support.redis_server import RedisServer, free_port, redis_binaries
from tests.support.tls import Authority, TlsPostgres, required

ENCRYPTED = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"


@pytest.fixture(scope="session")
def role(encrypted: TlsPostgres) -> str:
    """Whoever connects by TLS and password; has a database of the same name."""
    asyncio.run(encrypted.make("tester", "tester's own"))
    return "tester"


def address(encrypted: TlsPostgres, role: str, host: str, **options: object) -> str:
    query = "&".join(f"{name}={quote(str(value))}" for name, value in options.items())
    return f"postgresql://{role}:tester%27s%20own@{host}:{encrypted.port}/{role}?{query}"


async def test_postgres_is_known_by_its_authority_and_its_name(
    encrypted: TlsPostgres, role: str, authority: Authority, stranger: Authority
) -> None:
    ours, theirs = authority.certificate, stranger.certificate

    async def connect(host: str, **options: object) -> tuple[bool, str]:
        database = Database(address(encrypted, role, host, **options))
        connection = await database.first_connect("test")
        row = await connection.fetchrow(ENCRYPTED)
        await connection.close()
        assert row is not None
        return tuple(row)

    assert await connect("localhost", sslmode="verify-full", sslrootcert=ours) == (True, "TLSv1.3")
    assert await connect("127.0.0.1", sslmode="verify-ca", sslrootcert=ours) == (True, "TLSv1.3")
    refused = {
        "certificate verify failed": ("localhost", "verify-full", theirs),
        "not valid for '127.0.0.1'": ("127.0.0.1", "verify-full", ours),
        "no pg_hba.conf entry": ("localhost", "disable", ours),
    }
    for why, (host, mode, root) in refused.items():
        with pytest.raises(CannotConnect) as caught:
            await connect(host, sslmode=mode, sslrootcert=root)
        assert why in str(caught.value)
        assert "tester's own" not in str(caught.value)


async def test_a_pipeline_runs_over_tls_to_postgres(
    encrypted: TlsPostgres, role: str, authority: Authority, tmp_path: Path
) -> None:
    url = address(
        encrypted, role, "localhost", sslmode="verify-full", sslrootcert=authority.certificate
    )
    place = Place(tmp_path, PROJECTOR_DATABASE_URL=url)
    await place.ok("init")
    await place.ok("ingest", "generate:events=300,seed=9")
    await place.ok("run", "--until-caught-up")
    assert (await place.json("verify"))["differences"] == []


@asynccontextmanager
async def redis(authority: Authority, folder: Path) -> AsyncIterator[tuple[RedisServer, str]]:
    """Debian's Redis, that speaks TLS on a second port; and its address."""
    binaries = redis_binaries()
    required("path" in binaries, "Debian's redis-server")
    certificate, key = authority.signed("localhost")
    port = free_port()
    words = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file"]
    words += [str(key), "--tls-ca-cert-file", str(authority.certificate)]
    async with RedisServer(
        binaries["path"], folder, *words, "--tls-auth-clients", "no"
    ) as server:  # fmt: skip
        yield server, f"rediss://localhost:{port}/0"


async def test_redis_is_known_by_its_authority_and_its_name(
    authority: Authority, stranger: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with redis(authority, tmp_path / "redis") as (_, url):
        other_name = url.replace("localhost", "127.0.0.1")
        for known, place, why in (
            (authority, url, ""),
            (stranger, url, "certificate verify failed"),
            (authority, other_name, "certificate verify failed"),
        ):
            monkeypatch.setenv("SSL_CERT_FILE", str(known.certificate))
            link = RedisLink(place, 5)
            try:
                if why:
                    with pytest.raises(RedisConnectionError, match=why):
                        await link.run("PING")
                else:
                    assert await link.run("PING")
            finally:
                await link.close()


async def test_a_stream_is_filled_over_tls(authority: Authority, tmp_path: Path) -> None:
    async with redis(authority, tmp_path / "redis") as (server, url):
        place = Place(tmp_path, SSL_CERT_FILE=str(authority.certificate))
        await place.ok("ingest", "generate:events=200,seed=9", "--to", f"{url}?stream=live")
        assert int(await server.run("XLEN", "live")) == 200


async def test_upstream_is_known_by_its_authority(
    database_url: str, authority: Authority, stranger: Authority, tmp_path: Path
) -> None:
    lines = [commit(n, follow(), rkey=tid(n)) for n in range(30)]
    tls = authority.context("localhost")
    place = Place(tmp_path, PROJECTOR_DATABASE_URL=database_url)
    await place.ok("init")
    async with JetstreamServer(lines) as upstream:
        port = int(upstream.url.rpartition(":")[2].partition("/")[0])
        async with Proxy(to_port(port), tls=tls) as proxy:
            source = f"wss://localhost:{proxy.port}/subscribe?cursor=1"
            for known, said in ((stranger, "certificate verify failed"), (authority, "")):
                env = {"SSL_CERT_FILE": str(known.certificate)}
                async with place.start("ingest", source, env=env) as daemon:
                    if said:
                        await daemon.until_said(said)
                        assert upstream.connections == []
                    else:
                        await upstream.until(lambda: upstream.sent >= len(lines))
                        daemon.terminate()
                        assert await daemon.code() == 0
