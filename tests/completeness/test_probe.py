"""A probe from end to end: two hosts, one of which loses; the log and the tables beside it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from projector import probe as probe_module
from projector.commands.flow import into_log
from projector.completeness import (
    COLLECTIONS_KEPT_MAX,
    ProbeReport,
    Share,
    put_report,
    read_probe,
)
from projector.daemon import Daemon
from projector.database import Database
from projector.errors import CannotConnect
from projector.exposition import Exposition
from projector.observer import Observer
from projector.probe import Probe
from projector.settings import Settings
from projector.sources import source_of
from projector.state import headline
from tests.completeness.upstream import FOLLOW, LIKE, POST, commit, now_us
from tests.support.cli import Place
from tests.support.engine import DECLARATIONS, project
from tests.support.harness import PROJECTIONS
from tests.support.jetstream_server import JetstreamServer
from tests.support.lines import write
from tests.support.records import DID
from tests.support.watch import Watch


async def ingest(database: Database, place: Place, lines: list[bytes], name: str) -> None:
    """Puts lines into the log, as a source that has lost the others."""
    source = write(place.folder / f"{name}.jsonl", lines)
    await into_log(database, source, Settings(), asyncio.Event())


@asynccontextmanager
async def heard(server: JetstreamServer, lines: list[bytes]) -> AsyncIterator[None]:
    """The host says these things as soon as somebody listens."""

    async def say() -> None:
        await server.until(lambda: any(c.open for c in server.connections))
        server.append(*lines)

    task = asyncio.create_task(say())
    yield
    await task


async def probed(database: Database, server: JetstreamServer, lines: list[bytes]) -> ProbeReport:
    probe = Probe(database, source_of(server.url, Settings()), PROJECTIONS, "bsky",
                  seconds=1.0, grace_seconds=0.0)  # fmt: skip
    async with heard(server, lines):
        return await probe.run()


async def test_all_that_was_heard_is_there(database: Database, ready: Place) -> None:
    """Also what waits for another's claim, is invalid, deleted, not kept, or of an account that is
    gone; none of these has a row."""
    gone = "did:plc:gone"
    same = {"subject": "did:plc:twice", "createdAt": "2026-01-01T00:00:00.000Z"}
    lines = [
        *(commit(n, POST) for n in range(1, 20)),
        commit(20, FOLLOW, record=same), commit(21, FOLLOW, record=same),
        commit(22, LIKE, record={"subject": 7}),
        commit(23, POST, rkey="again"), commit(24, POST, rkey="again", action="delete"),
        commit(25, "com.example.thing"),
        commit(26, POST, did=gone),
    ]  # fmt: skip
    account = {"active": False, "did": gone, "status": "deleted", "seq": 1, "time": "x"}
    service = {"type": "AtprotoPersonalDataServer", "serviceEndpoint": "https://morel.example"}
    identity = {"did": gone, "handle": "a.test", "didDoc": {"service": [service]}, "seq": 1}
    resolved = json.dumps(
        {"did": gone, "time_us": now_us(), "kind": "identity", "identity": identity}
    )
    removal = json.dumps({"did": gone, "time_us": now_us(), "kind": "account", "account": account})
    await ingest(database, ready, [*lines, resolved.encode(), removal.encode()], "all")
    await project(database)
    async with JetstreamServer() as server:
        report = await probed(database, server, lines)
        assert report.upstream == server.url
    assert report.is_complete
    assert report.samples == []
    shares = {s.name: (s.seen, s.expected) for s in report.collections}
    assert {s.name: s.seen for s in report.hosts} == {"unknown": 25, "morel.example": 1}
    assert shares == {POST: (22, 19), FOLLOW: (2, 2), LIKE: (1, 0), "com.example.thing": (1, 0)}


@pytest.mark.both_servers
async def test_what_is_missing_in_the_log_and_in_a_table_is_told_apart(
    database: Database, ready: Place, watch: Watch
) -> None:
    lines = [commit(n, LIKE if n % 2 else POST) for n in range(1, 41)]
    await ingest(database, ready, [line for n, line in enumerate(lines, 1) if n > 10], "some")
    await project(database)
    uri = await watch.value("SELECT max(uri) FROM bsky.post")
    await watch.execute("DELETE FROM bsky.post WHERE uri = $1", uri)
    async with JetstreamServer() as server:
        report = await probed(database, server, lines)
    found = {s.name: (s.seen, s.missing, s.expected, s.missing_in_tables)
             for s in report.collections}  # fmt: skip
    assert found == {LIKE: (20, 5, 15, 0), POST: (20, 5, 15, 1)}
    assert {m.missing_in for m in report.samples} == {"log", "post"}
    assert [m.uri for m in report.samples if m.missing_in == "post"] == [uri]
    assert len(report.samples) == 11
    first = json.loads(lines[0])["time_us"] / 1e6
    assert min(s.missing_since or 0 for s in report.collections) == pytest.approx(first)


async def test_what_is_not_applied_yet_is_not_missing(database: Database, ready: Place) -> None:
    lines = [commit(n, POST) for n in range(1, 6)]
    await ingest(database, ready, lines, "all")
    async with JetstreamServer() as server:
        report = await probed(database, server, lines)
    assert (report.is_complete, report.not_applied, report.total.expected) == (True, 5, 0)


async def test_of_collections_without_number_a_bounded_number_is_kept(
    database: Database, ready: Place, watch: Watch
) -> None:
    connection = await database.connect("test")
    for n in range(4):
        shares = [Share(name=f"junk.{n}.{i}", seen=1) for i in range(99)]
        shares += [
            Share(name=LIKE, seen=50),
            Share(name=POST, seen=9, missing=n, missing_since=5.0),
        ]
        report = ProbeReport(
            upstream="wss://h/subscribe", begun_at=1.0, listened_seconds=1.0, grace_seconds=0.0,
            looked_at=1.0, behind_seconds=0.0, not_applied=0, collections=shares, hosts=[],
            samples=[],
        )  # fmt: skip
        await put_report(connection, report)
    status = await read_probe(connection)
    await connection.close()
    assert status is not None
    assert len(status.shares) == COLLECTIONS_KEPT_MAX
    totals = {s.collection: (s.seen_total, s.missing_total) for s in status.shares[:2]}
    assert totals == {POST: (36, 6), LIKE: (200, 0)}
    assert await watch.count("SELECT count(*) FROM projector.probe") == 1


async def test_an_upstream_that_says_nothing_proves_nothing(
    database: Database, ready: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "FIRST_SECONDS_MAX", 0.3)
    async with JetstreamServer() as server:
        probe = Probe(database, source_of(server.url, Settings()), PROJECTIONS, "bsky",
                      seconds=0.3, grace_seconds=60.0)  # fmt: skip
        with pytest.raises(CannotConnect, match=r"brought nothing in 0\.3 s"):
            await probe.run()


async def test_the_command_says_it_and_ends_with_1(database: Database, ready: Place) -> None:
    lines = [commit(n, LIKE) for n in range(1, 501)]
    await ingest(database, ready, lines[:1], "one")
    await project(database)
    async with JetstreamServer() as server:
        words = ("probe", "--upstream", server.url, "--seconds", "2", "--grace-seconds", "0")
        async with heard(server, lines):
            ended = await ready.run(*words)
        assert ended.code == 1
        assert "99.8 % of the commits are not in the log" in ended.complaint
        assert "app.bsky.feed.like   500" in ended.text
        server.lines.clear()
        server.connections.clear()
        async with heard(server, lines[:1]):
            whole = await ready.json(*words)
    assert whole["collections"] == [
        {"name": LIKE, "seen": 1, "missing": 0, "expected": 1, "missing_in_tables": 0,
         "missing_since": None}
    ]  # fmt: skip


async def test_the_daemon_probes_and_all_say_what_it_found(
    database: Database, ready: Place, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe_module, "FIRST_SECONDS_MAX", 1.0)
    lines = [commit(n, LIKE) for n in range(1, 401)]
    await ingest(database, ready, [*lines[:8], commit(999, POST)], "few")
    stop = asyncio.Event()
    async with JetstreamServer() as server:
        settings = Settings(
            probe_upstream=server.url, probe_seconds=0.7, probe_grace_seconds=0.0,
            probe_every_seconds=0.1, status_listen="",
        )  # fmt: skip
        daemon = Daemon(database, DECLARATIONS, settings)
        running = asyncio.create_task(daemon.run(stop))
        observer = Observer(database, DECLARATIONS)
        ended = "SELECT count(*) FROM projector.probe_share WHERE missing > 0"
        async with heard(server, lines):
            await watch.until(lambda: watch.count(ended), 1)
        since = await watch.value("SELECT missing_since FROM projector.probe_share")
        await watch.until(watch.tables_at, 9)
        await observer.look()
        sentence, level = headline(observer)
        at = since.strftime("%H:%M")
        assert f"98.0 % of {LIKE} records are missing since {at} UTC: projector probe" in sentence
        assert level == "bad"
        text = Exposition(observer).render("")[0].decode()
        assert f'projector_complete_ratio{{collection="{LIKE}"}} 0.020' in text
        assert f'projector_probe_missing_total{{collection="{LIKE}"}} 392.0' in text

        # Ingest mends it; the next probe finds all of what it hears then, and the since is gone.
        await ingest(database, ready, lines, "all")
        again = [commit(n, LIKE, did=DID) for n in range(1000, 1003)]
        await ingest(database, ready, again, "again")
        await watch.until(watch.tables_at, 400)
        server.connections.clear()
        whole = "SELECT count(*) FROM projector.probe_share WHERE missing_since IS NULL"
        async with heard(server, again):
            await watch.until(lambda: watch.count(whole), 1)
        stop.set()
        await asyncio.wait_for(running, 30)
    await observer.look()
    assert observer.latest is not None
    assert observer.latest.status.probe is not None
    assert observer.latest.status.probe.missing == 0
    assert "records are missing" not in headline(observer)[0]
    await (observer._connection or pytest.fail()).close()
