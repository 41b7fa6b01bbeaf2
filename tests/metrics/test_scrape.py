"""What Prometheus reads of real daemons is what the database says."""

from __future__ import annotations

import time
from pathlib import Path

import asyncpg

from projector.database import Database
from projector.metrics import METRICS
from tests.support.cli import Place
from tests.support.collector import Collector
from tests.support.harness import until
from tests.support.redis_server import RedisServer, redis_binaries, require_redis
from tests.support.served import LISTEN, Metrics, Served, ingested, served_by
from tests.support.watch import Watch

EVENTS = 3000
SOURCE = f"generate:events={EVENTS},seed=17,accounts=200,invalid=0.01"
SLOW = f"{SOURCE},rate=1000"
TABLES = ("follow", "like", "post", "repost")
LETTERS = "SELECT projection, reason, count(*) FROM projector.dead_letter GROUP BY 1, 2"
APPLIED = "SELECT projection, events FROM projector.checkpoint"
BYTES = """
SELECT sum(pg_total_relation_size(('projector.' || table_name)::regclass))::bigint
FROM projector.log_partition
"""


async def test_what_a_daemon_tells_is_what_the_database_holds(
    ready: Place, database: Database, watch: Watch
) -> None:
    await ingested(database, SOURCE)
    async with ready.start("run", env=LISTEN) as daemon:
        served = await served_by(daemon)
        await until(watch.is_caught_up)
        reads = (await served.metrics()).get("projector_up_seconds")
        told = await served.until("projector_up_seconds", reads + 1)

        applied = dict(await watch.rows(APPLIED))
        assert told.get("projector_log_head_offset") == EVENTS
        lags = told.all("projector_lag_events")
        assert lags == dict.fromkeys([(name,) for name in applied], 0)
        for name in TABLES:
            assert told.get("projector_window_events_total", projection=name) == applied[name] > 0
            assert told.get("projector_applied_events_total", projection=name) == applied[name]
            rows = await watch.count(f'SELECT count(*) FROM bsky."{name}"')
            inserted = told.get("projector_rows_total", projection=name, change="inserted")
            deleted = told.get("projector_rows_total", projection=name, change="deleted")
            assert inserted - deleted == rows
            windows = told.get("projector_windows_total", projection=name)
            assert told.get("projector_window_seconds_count", projection=name) == windows > 0
        letters = {(p, r): float(n) for p, r, n in await watch.rows(LETTERS)}
        assert told.all("projector_dead_letters_made_total") == letters != {}
        stored = told.all("projector_dead_letters")
        assert {(of, reason): n for (of, reason, _), n in stored.items()} == letters
        assert told.all("projector_outbox_rows") == {("post_agg",): 0, ("profile_agg",): 0}
        assert told.all("projector_connections")["apply like",] == 1
        assert told.get("projector_audit_differences") == 0
        # The first partition, and one of the default size that `ingest` made ahead.
        assert told.get("projector_log_room_events") == 100_000 + 10_000_000 - EVENTS
        assert told.get("projector_log_partitions_ahead") == 1
        # Sizes are read less often than the rest, and grow until then.
        assert 0 < told.get("projector_log_bytes") <= await watch.count(BYTES)
        assert told.names - names_of_the_catalogue() <= {"python_info"}
        assert (await served.plain_metrics()).get("projector_log_head_offset") == EVENTS


def names_of_the_catalogue() -> set[str]:
    ends = ("_bucket", "_sum", "_count")
    process = {f"process_{name}" for name in (
        "virtual_memory_bytes", "resident_memory_bytes", "start_time_seconds", "open_fds",
        "max_fds", "cpu_seconds_total",
    )}  # fmt: skip
    return process | {
        metric.full_name + end
        for metric in METRICS
        for end in (ends if metric.kind == "histogram" else ("",))
    }


async def test_a_scrape_never_waits_for_the_database_and_says_how_old_it_is(
    ready: Place, database_url: str
) -> None:
    async with ready.start("run", env=LISTEN) as daemon:
        served = await served_by(daemon)
        await served.until("projector_database_read_seconds", 1e-9)
        blocker = await asyncpg.connect(database_url)
        try:
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE projector.audit_state")
                # The statement's limit ends the read that now waits.
                while not (scrape := await _timed(served))[0].get(
                    "projector_database_read_failures_total"
                ):
                    assert scrape[1] < 2
                assert scrape[0].get("projector_database_read_age_seconds") > 3
                state = (await served.get("/state")).json
                assert state["level"] == "bad"
                assert state["sentence"].startswith("The database has not answered for")
        finally:
            await blocker.close()

        async def answers() -> bool:
            return (await served.get("/state")).json["level"] == "good"

        await until(answers)
        assert daemon.said.count("the database cannot be read") == 1


async def _timed(served: Served) -> tuple[Metrics, float]:
    begun = time.monotonic()
    metrics = await served.metrics()
    return metrics, time.monotonic() - begun


async def test_ingest_tells_what_it_appended(ready: Place, watch: Watch) -> None:
    async with ready.start("ingest", SLOW, env=LISTEN) as ingest:
        served = await served_by(ingest)
        told = await served.until("projector_appended_events_total", 500)
        assert told.get("projector_received_bytes_total") > 500 * 100
        assert told.get("projector_append_seconds_count") == told.get("projector_appends_total")
        (source,) = told.all("projector_source_lag_seconds")
        assert told.all("projector_last_append_timestamp_seconds").keys() == {source}
        assert "projector_log_head_offset" not in told.names  # That is the daemon's to tell.
        home = await served.get("/")
        assert "/metrics" in home.body
        assert (await served.get("/state")).code == 404
        assert await ingest.code() == 0
    assert await watch.head() == EVENTS


async def test_a_stream_is_measured_where_it_is_the_target(place: Place, tmp_path: Path) -> None:
    require_redis()
    async with RedisServer(next(iter(redis_binaries().values())), tmp_path / "redis") as redis:
        target = f"{redis.url}?stream=live"
        async with place.start("ingest", SLOW, "--to", target, env=LISTEN) as ingest:
            served = await served_by(ingest)
            told = await served.until("projector_redis_stream_entries", 100)
            assert told.get("projector_redis_up") == 1
            assert told.get("projector_redis_stream_pending") == 0
            assert told.get("projector_redis_memory_bytes") > 100_000
            assert told.get("projector_redis_memory_max_bytes") == 0
            (stream,) = told.all("projector_redis_up")
            assert stream[0].endswith("?stream=live")


async def test_windows_carry_their_trace_as_an_exemplar(
    ready: Place, database: Database, watch: Watch
) -> None:
    with Collector() as collector:
        env = {**LISTEN, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        await ingested(database, SOURCE)
        async with ready.start("run", env=env) as daemon:
            served = await served_by(daemon)
            await until(watch.is_caught_up)
            told = await served.until("projector_window_seconds_count", 1, projection="like")
            exemplars = {
                s.exemplar.labels["trace_id"]: s.exemplar.value
                for s in told.samples
                if s.name == "projector_window_seconds_bucket" and s.exemplar is not None
            }
            daemon.terminate()
            assert await daemon.code() == 0
    traces = {span.id[0].hex() for span in collector.spans if span.name == "apply"}
    assert exemplars.keys() <= traces
    assert len(exemplars) >= len(TABLES)
