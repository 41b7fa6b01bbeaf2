"""What went to the archive comes back as it was, to the byte."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from events.event import TIME_US_MAX, Event
from events.history import WholeLog
from events.jetstream_wire import JetstreamDecoder
from projector.archive_files import check_archive, listed
from projector.archiving import Policy
from tests.archive.conftest import PARTITION, Log, generated
from tests.support.corpus import firehose_lines, hostile_inputs, repo_lines

BEGINNING_US = -62_135_424_000_000_000
ALL_BYTES = bytes(range(256))


def odd_events() -> list[Event]:
    """Events that no decoder lets through, but the log would hold."""
    plain = Event(0, "did:plc:odd", "commit", "create", "a.b.c", "1", "", None, b"{}", 0)
    return [
        replace(plain, record=None),
        replace(plain, record=b""),
        replace(plain, record=ALL_BYTES * 8000),
        replace(plain, did="", kind="", action="", collection="", rkey="", rev=None),
        replace(plain, did="\U0010ffff\x7f\x01'\"\\", rkey="\u0301", source_cursor="\r\n"),
        replace(plain, kind="unknown", collection=None, rkey=None, record=ALL_BYTES),
        replace(plain, time_us=TIME_US_MAX),
        replace(plain, time_us=BEGINNING_US),
        replace(plain, time_us=-1),
    ]


def real_and_hostile_events() -> list[Event]:
    decode = JetstreamDecoder().decode
    lines = [*firehose_lines(), *repo_lines(), *hostile_inputs().values()]
    found = [decoded for line in lines if isinstance(decoded := decode(line), Event)]
    assert len(found) > 3500
    return [*found[-300:], *odd_events(), *found[:1600]]


@pytest.mark.both_servers
async def test_events_come_back_as_they_were(log: Log) -> None:
    await log.append(real_and_hostile_events())
    assert len(await log.archive()) == len(log.rows) // PARTITION
    assert [row[0] for row in await log.live_rows()] == [
        row[0] for row in log.rows[len(log.rows) // PARTITION * PARTITION :]
    ]
    assert await log.read() == log.events
    assert await check_archive(log.connection) == []

    for first in range(1, len(log.rows) - PARTITION, PARTITION):
        assert (await log.archiver().restore(first + 7)).action == "restored"
    assert await log.live_rows() == log.rows
    assert await check_archive(log.connection) == []
    # What was restored goes again, by the files that are there.
    names = log.files()
    assert {moved.action for moved in await log.archive()} == {"moved"}
    assert log.files() == names
    assert await log.read() == log.events


async def test_only_what_is_wanted_is_read(log: Log) -> None:
    await log.append([*await generated(900), *odd_events()])
    await log.archive(keep_events=300)
    wanted = ["app.bsky.feed.post", "app.bsky.graph.follow"]
    of_collections = [e for e in log.events if e.kind != "commit" or e.collection in wanted]
    whole = WholeLog()
    assert await log.read(collections=wanted, batch_events=77) == of_collections
    assert await log.read(collections=[]) == [e for e in log.events if e.kind != "commit"]
    for after, through in [(0, 1), (199, 201), (200, 400), (399, 850), (0, 10**9), (5, 5)]:
        found = await whole.read(log.connection, after, through, wanted)
        assert found == [e for e in of_collections if after < e.log_offset <= through]

    dids = [log.events[i].did for i in (0, 250, 599, 880)]
    of_accounts = [e for e in log.events if e.did in dids]
    assert await whole.of_accounts(log.connection, dids, 0, len(log.rows)) == of_accounts
    found = await whole.of_accounts(log.connection, dids, 250, 870, wanted)
    assert found == [
        e for e in of_accounts
        if 250 < e.log_offset <= 870 and (e.kind != "commit" or e.collection in wanted)
    ]  # fmt: skip
    assert await whole.of_accounts(log.connection, ["did:plc:nobody"], 0, 900) == []
    await whole.close()


async def test_copies_are_made_first_and_partitions_go_later(log: Log) -> None:
    await log.append(await generated(700))
    assert [m.action for m in await log.archive(keep_live=True)] == ["copied"] * 3
    assert await log.partitions() == [1, 201, 401, 601]
    assert await log.archive(keep_live=True) == []
    names = log.files()
    assert len(names) == 3
    assert [f.live for f in await listed(log.connection)] == [True] * 3
    assert [m.action for m in await log.archive(keep_events=200)] == ["moved"] * 2
    assert await log.partitions() == [401, 601]
    assert log.files() == names
    assert await log.read() == log.events


async def test_a_file_by_its_url(log: Log) -> None:
    log.folder.mkdir()
    await log.append(await generated(450))
    archiver = log.archiver()
    archiver.folder = log.folder.as_uri()
    done, limited = await archiver.run(Policy())
    assert limited is None
    assert [m.location for m in done] == [f"{log.folder.as_uri()}/{name}" for name in log.files()]
    assert await log.read() == log.events
