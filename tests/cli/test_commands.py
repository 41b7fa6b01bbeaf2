"""Each command does what it says, on a server that is named to it."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
import zstandard

from projector.settings import table as settings_table
from tests.support.cli import Place
from tests.support.redis_server import RedisServer, redis_binaries, require_redis
from tests.support.watch import Watch

EVENTS = 3000
SOURCE = f"generate:events={EVENTS},seed=5,accounts=200"
COUNTERS = 7

STATUS = {
    "sentence", "head", "projections", "sources", "dead_letters", "audit", "rebuilds",
    "silences", "probe", "troubles",
}  # fmt: skip
PROJECTION = {
    "name", "kind", "version", "checkpoint", "lag_events", "lag_seconds", "events_per_second",
    "events", "pending_rows", "dead_letters", "owner",
}  # fmt: skip
SOURCE_KEYS = {
    "name", "cursor", "events", "duplicates", "undecodable", "skipped", "message_bytes",
    "events_per_second", "idle_seconds", "owner", "quiet_after_seconds",
}  # fmt: skip
PROGRESS = {
    "events", "duplicates", "undecodable", "skipped", "message_bytes", "head", "events_per_second",
}  # fmt: skip


async def test_init_makes_what_is_missing_and_then_nothing(place: Place, watch: Watch) -> None:
    first = await place.ok("init")
    assert "created migration 0001" in first.text
    assert "created projection profile_agg" in first.text
    assert "is ready" in first.text
    again = await place.json("init")
    assert again.keys() == {"database", "done"}
    assert again["done"] == []
    assert await watch.head() == 0


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
async def test_a_file_is_ingested_from_where_it_stopped(
    ready: Place, watch: Watch, suffix: str
) -> None:
    path = ready.folder / f"firehose.jsonl{suffix}"
    await ready.ok("generate", SOURCE.removeprefix("generate:"), "--to", str(path))
    lines = unpacked(path.read_bytes(), suffix)
    assert len(lines) == EVENTS
    first = await ready.json("ingest", f"file:{path}")
    assert first.keys() == PROGRESS
    assert (first["events"], first["head"], first["undecodable"]) == (EVENTS, EVENTS, 0)
    more = b"\n".join(lines[-10:]) + b"\n"
    with path.open("ab") as file:
        file.write(packed(more, suffix))
    again = await ready.json("ingest", f"file:{path}")
    assert (again["events"], again["head"]) == (10, EVENTS + 10)
    assert await watch.head() == EVENTS + 10
    ((least, most, count),) = await watch.rows(
        "SELECT min(log_offset), max(log_offset), count(*) FROM projector.event_log"
    )
    assert (least, most, count) == (1, EVENTS + 10, EVENTS + 10)


def unpacked(data: bytes, suffix: str) -> list[bytes]:
    if suffix == ".gz":
        data = gzip.decompress(data)
    if suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data.splitlines()


def packed(data: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(data)
    return zstandard.ZstdCompressor().compress(data) if suffix == ".zst" else data


async def test_generate_prints_what_it_would_write(ready: Place) -> None:
    spec = "events=300,seed=9"
    printed = await ready.ok("generate", spec)
    written = await ready.json("generate", f"generate:{spec}", "--to", "some.jsonl")
    assert (ready.folder / "some.jsonl").read_bytes() == printed.out
    assert len(printed.out.splitlines()) == 300 == written["events"]
    assert written["message_bytes"] == len(printed.out)


async def test_projections_follow_the_log_and_every_count_is_exact(
    ready: Place, watch: Watch
) -> None:
    said = await ready.ok("ingest", SOURCE)
    assert f"{EVENTS:,} events from {SOURCE}" in said.text
    some = await ready.json("run", "follow", "--until-caught-up")
    assert some == {"follow": EVENTS}
    status = await ready.json("status")
    assert status.keys() == STATUS
    assert "run by nobody: projector run" in status["sentence"]
    assert {at["name"]: at["lag_events"] for at in status["projections"]} == {
        "follow": 0, "like": EVENTS, "post": EVENTS, "repost": EVENTS,
        "profile_agg": EVENTS, "post_agg": EVENTS,
    }  # fmt: skip

    await ready.ok("run", "--until-caught-up")
    status = await ready.json("status")
    assert status["sentence"].startswith(
        f"All 6 projections are in step with the log: {EVENTS:,} events"
    )
    assert all(at.keys() == PROJECTION for at in status["projections"])
    assert [at.keys() for at in status["sources"]] == [SOURCE_KEYS]
    assert status["sources"][0]["cursor"] == str(EVENTS)
    shown = await ready.ok("status")
    assert status["sentence"] in shown.text
    assert "profile_agg" in shown.text

    verdict = await ready.json("verify")
    assert verdict.keys() >= {"counters", "keys", "differences"}
    assert verdict["counters"] == COUNTERS
    assert verdict["differences"] == []
    assert verdict["keys"] > 0
    assert "exact" in (await ready.ok("verify")).text


async def test_verify_names_the_counter_that_somebody_changed(ready: Place, watch: Watch) -> None:
    await ready.ok("ingest", SOURCE)
    await ready.ok("run", "--until-caught-up")
    did = await watch.value(
        """UPDATE bsky.profile_agg SET "followersCount" = "followersCount" + 1
        WHERE did = (SELECT min(did) FROM bsky.profile_agg) RETURNING did"""
    )
    told = await ready.run("verify")
    assert told.code == 1
    assert did in told.text
    assert "followersCount" in told.text
    assert "1 counter" in told.complaint
    told = await ready.run("verify", "--json")
    assert told.code == 1
    (difference,) = told.json["differences"]
    assert difference["key"] == did
    assert difference["counter"] == "followersCount"
    assert difference["stored"] + difference["pending"] == difference["counted"] + 1


async def test_a_stream_in_between(ready: Place, watch: Watch, tmp_path: Path) -> None:
    require_redis()
    binary = next(iter(redis_binaries().values()))
    async with RedisServer(binary, tmp_path / "redis") as redis:
        stream = f"{redis.url}?stream=firehose_live"
        filled = await ready.json("ingest", SOURCE, "--to", stream)
        assert filled["events"] == EVENTS
        assert await redis.run("XLEN", "firehose_live") == EVENTS
        assert (await ready.json("ingest", SOURCE, "--to", stream))["events"] == 0
        async with ready.start("ingest", stream) as draining:
            await watch.until(watch.head, EVENTS)
            draining.terminate()
            assert await draining.code() == 0, draining.said
        assert await redis.run("XLEN", "firehose_live") <= 1
    await ready.ok("run", "--until-caught-up")
    assert (await ready.json("verify"))["differences"] == []
    assert await watch.head() == EVENTS


async def test_settings_are_one_table(place: Place) -> None:
    rows: list[dict[str, Any]] = await place.json(
        "settings", "--window-events-max", "77", PROJECTOR_POLL_SECONDS="0.5"
    )
    assert [row["flag"] for row in rows] == [flag for flag, *_ in settings_table()]
    assert all(row.keys() == {"flag", "variable", "default", "value", "meaning"} for row in rows)
    values = {row["variable"]: (row["default"], row["value"]) for row in rows}
    assert values["PROJECTOR_WINDOW_EVENTS_MAX"] == ("20000", "77")
    assert values["PROJECTOR_POLL_SECONDS"] == ("1.0", "0.5")
    told = await place.ok("settings", "--lease-seconds=9")
    assert "PROJECTOR_LEASE_SECONDS" in told.text
