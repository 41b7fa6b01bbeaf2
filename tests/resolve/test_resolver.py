"""Handles are those on which both sides agree; hostile hosts get nowhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from projector.identity import Resolver
from projector.probe import host_in
from projector.resolving import record_of
from projector.web import Refused, Unreachable, Web, is_public
from tests.resolve.directory import Directory, directory

A, B = f"did:plc:{'a' * 24}", f"did:plc:{'b' * 24}"


@pytest.fixture
async def network() -> AsyncIterator[Directory]:
    async with directory() as made:
        yield made


async def test_a_handle_counts_when_both_sides_say_so(network: Directory) -> None:
    resolver = network.resolver()
    network.name(A, "Alice.Test")
    network.txt["alice.test"] = network.txt.pop("Alice.Test")
    assert (await resolver.identity_of(A)).handle == "alice.test"
    network.txt["alice.test"] = [f"did={B}"]
    assert (await resolver.identity_of(A)).handle is None
    network.txt["alice.test"] = [f"did={A}", f"did={B}"]
    assert (await resolver.identity_of(A)).handle is None
    network.txt["alice.test"] = ["v=spf1"]
    network.hosts["/alice.test/.well-known/atproto-did"] = A.encode() + b"\n"
    assert (await resolver.identity_of(A)).handle == "alice.test"
    network.hosts["/alice.test/.well-known/atproto-did"] = b"<html>"
    assert (await resolver.identity_of(A)).handle is None


async def test_documents_that_name_nobody(network: Directory) -> None:
    resolver = network.resolver()
    assert (await resolver.identity_of(A)).handle is None
    for document in (
        b"",
        b"[]",
        b'{"id":"%s"}' % A.encode(),
        b"[" * 5000,
        b"\xff",
        json.dumps({"id": B, "alsoKnownAs": ["at://b.test"]}).encode(),
        json.dumps({"id": A, "alsoKnownAs": ["at://../x", "https://a"]}).encode(),
    ):
        network.documents[f"/{A}"] = document
        network.txt["b.test"] = [f"did={A}"]
        assert (await resolver.identity_of(A)).handle is None, document


async def test_a_did_web_is_asked_at_its_host(network: Directory) -> None:
    did = "did:web:web.test"
    document = {"id": did, "alsoKnownAs": ["at://web.test"]}
    network.hosts["/web.test/.well-known/did.json"] = json.dumps(document).encode()
    network.txt["web.test"] = [f"did={did}"]
    assert (await network.resolver().identity_of(did)).handle == "web.test"
    for odd in ("did:web:a.test:path", "did:web:", "did:key:z6Mk", "did:web:a.test%2Fx"):
        assert (await network.resolver().identity_of(odd)).handle is None, odd


async def test_no_answer_is_no_fact(network: Directory) -> None:
    network.name(A, "a.test")
    network.broken = {f"/{A}"}
    with pytest.raises(Unreachable, match="answers 500"):
        await network.resolver().identity_of(A)
    assert network.asked == [f"/{A}"]
    network.broken = {"/dns-query"}
    with pytest.raises(Unreachable):
        await network.resolver().identity_of(A)
    silent = Resolver(Web(seconds=0.2), "http://127.0.0.1:9", "")
    with pytest.raises(Unreachable):
        await silent.identity_of(A)


PRIVATE = (
    "127.0.0.1",
    "10.0.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "::1",
    "fe80::1%eth0",
    "fc00::1",
    "::ffff:127.0.0.1",
    "224.0.0.1",
    "255.255.255.255",
)


async def test_what_the_network_names_is_asked_at_public_addresses_only(
    network: Directory,
) -> None:
    assert [a for a in PRIVATE if is_public(a)] == []
    assert is_public("93.184.216.34") and is_public("2606:4700::1111")
    for address in PRIVATE:

        async def lookup(host: str, port: int, address: str = address) -> Sequence[str]:
            return ["93.184.216.34", address]

        with pytest.raises(Refused, match="not public"):
            await Web(lookup=lookup).get("https://inside.example.com/.well-known/did.json")
    for url in (f"{network.url}/x", "https://a.com:8443/", "ftp://a.com/", "https:///x"):
        with pytest.raises(Refused):
            await Web().get(url)
    assert (await Resolver(Web(), network.url, "").identity_of("did:web:127.0.0.1")).handle is None
    assert network.asked == []


async def test_an_answer_has_a_size_and_a_time(network: Directory) -> None:
    network.documents["/large"] = b"x" * 100_000
    with pytest.raises(Unreachable, match="longer than"):
        await Web().get(f"{network.url}/large", trusted=True)
    network.documents["/usual"] = b"x" * 50_000
    answer = await Web().get(f"{network.url}/usual", trusted=True)
    assert (answer.status, answer.body) == (200, b"x" * 50_000)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await reader.read()  # Until the other side has had enough.
        writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unreachable):
            await Web(seconds=0.2).get(f"http://127.0.0.1:{port}/", trusted=True)


async def test_where_the_repo_is_comes_with_the_handle(network: Directory) -> None:
    """In the form in which the probe reads it; whatever is odd about it, the handle is known."""
    network.name(A, "alice.test")
    pds = {"id": "#atproto_pds", "type": "AtprotoPersonalDataServer",
           "serviceEndpoint": "https://pds.example.com/x"}  # fmt: skip
    label = {"id": "#l", "type": "AtprotoLabeler", "serviceEndpoint": "https://other.example"}
    for services, host in (
        ([label, pds], "pds.example.com"),
        ([pds | {"serviceEndpoint": {"uri": "https://x"}}, pds], "pds.example.com"),
        ([pds | {"serviceEndpoint": "https://" + "x" * 3000}], None),
        ([label], None),
        ("odd", None),
        ([1], None),
    ):
        document = {"id": A, "alsoKnownAs": ["at://alice.test"], "service": services}
        network.documents[f"/{A}"] = json.dumps(document).encode()
        found = await network.resolver().identity_of(A)
        assert found.handle == "alice.test"
        assert host_in(record_of(A, found)) == host
