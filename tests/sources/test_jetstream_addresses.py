"""What an operator may write for a Jetstream source, and what a host is then asked."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from events.errors import SourceError
from events.sources.jetstream import PUBLIC_HOSTS, parse_source
from tests.support.jetstream_consumer import (
    consuming,
    lines,
    nobody,
    source,
    time_of,
)
from tests.support.jetstream_server import JetstreamServer

# Names and addresses


def test_the_public_hosts() -> None:
    assert parse_source("jetstream") == ("jetstream", PUBLIC_HOSTS)
    assert sorted(PUBLIC_HOSTS) == [
        "wss://jetstream1.us-east.bsky.network/subscribe",
        "wss://jetstream1.us-west.bsky.network/subscribe",
        "wss://jetstream2.us-east.bsky.network/subscribe",
        "wss://jetstream2.us-west.bsky.network/subscribe",
    ]


def test_a_name_tells_no_secrets_and_no_options() -> None:
    url = "wss://user:secret@example.com:8443/subscribe?wantedDids=did:web:a.com"
    assert parse_source(url) == ("wss://example.com:8443/subscribe", (url,))
    assert parse_source("ws://localhost")[0] == "ws://localhost/subscribe"


@pytest.mark.parametrize(
    "text", ["", "jetstreams", "https://a.com", "wss://", "ws://a:b:c", "ws://[a", "ws://user@a"]
)
def test_other_texts_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(SourceError, match="a Jetstream source is"):
        parse_source(text)


@pytest.mark.parametrize(
    ("query", "settings", "cause"),
    [
        ("?requireHello=true", {}, "requireHello"),
        ("?compress=true", {}, "dictionary"),
        ("?cursor=yesterday", {}, "not a time"),
        ("", {"zstd_dictionary": Path(os.devnull) / "none"}, "cannot be read"),
        ("", {"queue_messages_max": 0}, "at least 1"),
    ],
)
def test_what_cannot_work_is_refused_at_once(
    query: str, settings: dict[str, Any], cause: str
) -> None:
    with pytest.raises(SourceError, match=cause):
        source(["wss://user:secret@example.com/subscribe" + query], **settings)


@pytest.mark.parametrize("cursor", ["12-0", "-1", "९", "999999999999999999"])
async def test_a_cursor_that_is_no_time_is_refused(cursor: str) -> None:
    with pytest.raises(SourceError, match="not a time"):
        await anext(source([nobody()]).batches(cursor))


async def test_a_cursor_in_the_address_counts_only_without_a_saved_one() -> None:
    async with JetstreamServer(lines(100)) as server:
        url = f"{server.url}?cursor={time_of(80)}"
        async with consuming(url, cursor=None, rewind_seconds=0) as consumer:
            await consumer.until_last(99)
        async with consuming(url, cursor=str(time_of(90)), rewind_seconds=0) as consumer:
            await consumer.until_last(99)
    assert [one.query["cursor"] for one in server.connections] == [
        [str(time_of(80))],
        [str(time_of(90))],
    ]


async def test_it_is_a_source_that_rewinds_and_keeps_its_credentials_to_itself() -> None:
    async with JetstreamServer(lines(10)) as server:
        url = server.url.replace("ws://", "ws://user:secret@")
        async with consuming(url, name=parse_source(url)[0]) as consumer:
            await consumer.until_last(9)
            await consumer.source.committed("1")
            assert consumer.source.rewinds
            assert "secret" not in consumer.source.name + "".join(consumer.reports)
    assert server.connections[0].headers["Authorization"].startswith("Basic ")
