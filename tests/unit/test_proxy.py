"""The proxy that stands for a network does what it says, and counts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.support.harness import until
from tests.support.proxy import Proxy, to_port


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that answers with what it is sent."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server, Proxy(to_port(server.sockets[0].getsockname()[1])) as ready:
        yield ready


class Client:
    """Says something, and waits for it to come back."""

    def __init__(self, streams: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self.reader, self.writer = streams

    async def echo(self, data: bytes) -> bytes:
        self.writer.write(data)
        return await self.reader.readexactly(len(data))

    def close(self) -> None:
        self.writer.transport.abort()


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    ready = Client(await asyncio.open_connection("127.0.0.1", proxy.port))
    yield ready
    ready.close()


async def test_it_passes_both_ways_and_counts(proxy: Proxy, client: Client) -> None:
    assert await client.echo(b"one") == b"one"
    assert (proxy.passed, proxy.delayed, proxy.held, proxy.cuts) == (2, 0, 0, 0)


async def test_a_cut_ends_connections_and_lets_new_ones_in(proxy: Proxy, client: Client) -> None:
    await client.echo(b"one")
    assert proxy.cut() == proxy.cuts == 1
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await client.echo(b"two")
    other = Client(await asyncio.open_connection("127.0.0.1", proxy.port))
    assert await other.echo(b"three") == b"three"
    other.close()


async def test_what_is_delayed_comes_so_much_later_each_way(proxy: Proxy, client: Client) -> None:
    proxy.delay_seconds = 0.05
    begun = time.monotonic()
    await client.echo(b"one")
    assert time.monotonic() - begun >= 0.1
    assert proxy.delayed == 2


async def test_what_is_throttled_takes_its_time(proxy: Proxy, client: Client) -> None:
    proxy.bytes_per_second = 10_000
    begun = time.monotonic()
    await client.echo(bytes(500))
    assert time.monotonic() - begun >= 0.1


@pytest.mark.parametrize("forget", [False, True])
async def test_a_black_hole_lets_nothing_through_until_it_is_over(
    proxy: Proxy, client: Client, forget: bool
) -> None:
    await client.echo(b"one")
    proxy.hold()
    saying = asyncio.create_task(client.echo(b"two"))

    async def is_held() -> bool:
        return proxy.held == 1

    await until(is_held)
    assert not saying.done()
    proxy.resume(forget=forget)
    if forget:
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await saying
    else:
        assert await saying == b"two"
    assert proxy.cuts == forget
