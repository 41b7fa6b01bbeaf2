"""An erased account is gone, all else is as it was, and the receipt proves it."""

from __future__ import annotations

import hashlib
import signal
from collections import Counter
from pathlib import Path

import asyncpg
import pyarrow.parquet
import pytest

from events.event import Batch, Event, Undecodable
from events.log import Appender
from projector import schema
from projector.archive_files import check_archive
from projector.database import Database
from projector.declare import AccountProjection, Projection
from projector.erasures import check_erasures
from projector.forget import Eraser
from tests.archive.conftest import PARTITION, Log, append, generated
from tests.forget.conftest import ARCHIVED, EVENTS, Scene, few_accounts, projected, without
from tests.support.cli import Place
from tests.support.engine import ALL, project, tables_of
from tests.support.harness import PROJECTIONS, until

POINTS = ("forget.begun", "forget.log", "forget.written", "forget.named", "forget.known",
          "forget.deleted", "forget.table:2", "forget.letters", "forget.finished")  # fmt: skip


ALL_OWNED = """
SELECT bool_and(EXISTS (
    SELECT FROM projector.lease WHERE name = 'projection ' || projection AND until > now()))
FROM projector.checkpoint
"""


def empty(offset: int) -> Event:
    """What is left of an erased event."""
    return Event(offset, "", "erased", "erased", None, None, None, None, None, 0)


async def assert_erased(scene: Scene, did: str, other_url: str) -> None:
    """Everything there is to say of an erased account."""
    log = scene.log
    expected = [empty(e.log_offset) if e.did == did else e for e in log.events]
    assert await log.read() == expected
    assert await scene.differences() == []
    await project(scene.database)  # The counts' deltas are in the outbox.
    assert await tables_of(scene.database) == await projected(other_url, without(log.events, did))
    assert await scene.differences() == []
    assert await check_erasures(log.connection) == []
    assert await check_archive(log.connection) == []
    files = "SELECT location FROM projector.log_archive ORDER BY 1"
    known = [row[0].rpartition("/")[2] for row in await log.connection.fetch(files)]
    assert log.files() == known
    for name in known:
        assert did not in pyarrow.parquet.read_table(log.folder / name)["did"].to_pylist()
    row = await log.connection.fetchrow("SELECT * FROM projector.erasure")
    offsets = [e.log_offset for e in log.events if e.did == did]
    assert row["offsets"] == offsets
    assert row["did_sha256"] == hashlib.sha256(did.encode()).hexdigest()
    written = ",".join(str(offset) for offset in offsets).encode()
    assert row["offsets_sha256"] == hashlib.sha256(written).hexdigest()
    assert did not in str(row)


@pytest.mark.both_servers
async def test_an_account_is_erased(scene: Scene, other_url: str) -> None:
    did = scene.busiest
    planned = await scene.place.json("forget", did)
    assert planned["done"] is False
    assert planned["events"] == sum(e.did == did for e in scene.log.events)
    assert await scene.log.read() == scene.log.events
    done = await scene.place.json("forget", did, "--yes")
    assert done["receipt"]["events"] == planned["events"]
    assert done["receipt"]["files"] == 2
    await assert_erased(scene, did, other_url)


@pytest.mark.parametrize("part", [0, 1, 2])
async def test_killed_at_any_step_it_goes_on(scene: Scene, other_url: str, part: int) -> None:
    did = scene.busiest
    for point in POINTS[part::3]:
        ended = await scene.place.run("forget", did, "--yes", env={"PROJECTOR_CRASH_AT": point})
        assert ended.code == -signal.SIGKILL, (point, ended.err)
    if await scene.log.connection.fetchval("SELECT finished_at IS NULL FROM projector.erasure"):
        assert [f.name for f in await check_erasures(scene.log.connection)] == [
            "erasure-unfinished"
        ]
        await scene.place.ok("forget", did, "--yes")
    await assert_erased(scene, did, other_url)


async def test_dead_letters_go(scene: Scene) -> None:
    did = scene.busiest
    appender = Appender(scene.log.connection, "letters", partition_events=200)
    await appender.open()
    dead = [
        Undecodable(b'{"did":"%s",,}' % did.encode(), "malformed", "no JSON", "1"),
        Undecodable(b'{"did":"did:plc:other",,}', "malformed", "no JSON", "2"),
    ]
    await appender.append(Batch(cursor="2", dead=dead))
    letters = "SELECT projection, log_offset, raw FROM projector.dead_letter ORDER BY id"
    before = [tuple(row) for row in await scene.log.connection.fetch(letters)]
    offsets = {e.log_offset for e in scene.log.events if e.did == did}
    left = [x for x in before if x[1] not in offsets and did.encode() not in (x[2] or b"")]
    assert len(left) < len(before) - 1
    done = await scene.place.json("forget", did, "--yes")
    assert [tuple(row) for row in await scene.log.connection.fetch(letters)] == left
    assert done["receipt"]["dead_letters"] == len(before) - len(left)


async def test_while_the_account_goes_on_writing(scene: Scene, other_url: str) -> None:
    did = scene.busiest
    log = scene.log
    events = await few_accounts()
    more = [e for e in events if e.did == did][:40]
    async with scene.place.start("run") as daemon:
        ingest = await scene.database.connect("test ingest")
        head = "SELECT head FROM projector.log_head"
        offset = "SELECT min(log_offset) FROM projector.checkpoint WHERE projection = 'post'"

        async def caught_up() -> bool:
            return bool(await ingest.fetchval(f"SELECT ({head}) = ({offset})"))

        # `forget` waits for a projection that somebody keeps, and for no other.
        await until(lambda: ingest.fetchval(ALL_OWNED))
        await append(ingest, more[:20])
        await scene.place.ok("forget", did, "--yes")
        await append(ingest, more[20:])
        await until(caught_up)
        daemon.terminate()
        assert await daemon.code() == 0
        await ingest.close()
    await scene.place.ok("run", "--until-caught-up")
    through = await log.connection.fetchval("SELECT through_offset FROM projector.erasure")
    assert EVENTS < through <= EVENTS + 20
    left = [*without(events, did), *(more[through - EVENTS :])]
    assert await tables_of(scene.database) == await projected(other_url, left)
    assert await scene.differences() == []
    assert await check_erasures(log.connection) == []


async def test_what_was_applied_meanwhile_stays(scene: Scene, other_url: str) -> None:
    """Between the look for what is to be erased and the erasure the account writes on."""
    did, connection = scene.busiest, scene.log.connection
    events = await few_accounts()
    more = [e for e in events if e.did == did][:20]
    eraser = Eraser(connection, PROJECTIONS, "bsky", say=lambda _: None)
    found = await eraser.find(did)
    await append(connection, more)
    await project(scene.database)
    await eraser.erase(did, found)
    await project(scene.database)
    left = [*without(events, did), *more]
    assert await tables_of(scene.database) == await projected(other_url, left)
    assert await scene.differences() == []


async def test_what_is_known_of_the_account_itself_goes(
    log: Log, database: Database, tmp_path: Path, other_url: str
) -> None:
    """Its handle, how it stands, and how far its repo is; what it says later makes that anew."""
    events = await generated(EVENTS, "accounts=12,identity=0.1,account=0.1")
    did = Counter(e.did for e in events if e.kind == "identity").most_common(1)[0][0]
    await schema.create(log.connection, ALL, "bsky", partition_events=PARTITION)
    await log.append(events)
    await project(database, declarations=ALL)
    tables = [d for d in ALL if isinstance(d, Projection | AccountProjection)]
    eraser = Eraser(log.connection, tables, "bsky", say=lambda _: None)
    found = await eraser.find(did)
    more = [e for e in events if e.did == did][:20]
    await append(log.connection, more)
    await project(database, declarations=ALL)
    await eraser.erase(did, found)
    left = await projected(other_url, [*without(events, did), *more], ALL)
    for name in ("actor", "actor_sync"):
        assert (await tables_of(database, [name]))[name] == left[name]
    place = Place(tmp_path, "--database", database.url, PROJECTOR_PROJECTIONS="*")
    await place.ok("forget", did, "--yes")
    for name in ("actor", "actor_sync"):
        rows = (await tables_of(database, [name]))[name]
        assert rows == [row for row in left[name] if row["did"] != did]
    # What an older version left of an account goes when it is forgotten once more.
    await log.connection.execute(
        'INSERT INTO bsky.actor (did, "indexedAt") VALUES ($1, $2)', did, "2025"
    )
    await place.ok("forget", did, "--yes")
    rows = (await tables_of(database, ["actor"]))["actor"]
    assert rows == [row for row in left["actor"] if row["did"] != did]


async def test_what_a_projection_has_not_met_stays(scene: Scene) -> None:
    did = scene.busiest
    await append(scene.log.connection, scene.log.events[:1])
    ended = await scene.place.run("forget", did, "--yes")
    assert ended.code == 1
    assert "projector run --until-caught-up" in ended.complaint
    assert await scene.log.connection.fetchval("SELECT count(*) FROM projector.erasure") == 0
    assert (await scene.place.run("forget", "nobody")).code == 2


async def test_what_undoes_an_erasure_is_found(scene: Scene) -> None:
    did = scene.busiest
    connection = scene.log.connection
    await scene.place.ok("forget", did, "--yes")
    live = next(e.log_offset for e in scene.log.events if e.did == did and e.log_offset > ARCHIVED)
    other = next(e.log_offset for e in scene.log.events if e.did != did and e.log_offset > ARCHIVED)

    async def found(*statements: str) -> list[str]:
        changed = connection.transaction()
        await changed.start()
        for statement in statements:
            await connection.execute(statement)
        names = [fault.name for fault in await check_erasures(connection)]
        await changed.rollback()
        return names

    where = f"WHERE log_offset = {live}"
    assert await found() == []
    for change in (f"did = '{did}'", "record = '{}'", "collection = 'a.b'", "kind = 'commit'"):
        names = await found(f"UPDATE projector.event_log SET {change} {where}")
        assert names == ["erasure-undone"], change
    emptied = (
        "UPDATE projector.event_log AS a SET did = b.did, kind = b.kind, action = b.action,"
        " collection = NULL, rkey = NULL, rev = NULL, cid = NULL, record = NULL,"
        " occurred_at = b.occurred_at FROM projector.event_log AS b"
        f" WHERE a.log_offset = {other} AND b.log_offset = {live}"
    )
    assert await found(emptied) == ["erasure-unknown"]
    fewer = "UPDATE projector.erasure SET offsets = offsets[2:]"
    assert await found(fewer) == ["erasure-receipt-altered", "erasure-unknown"]
    assert await found("UPDATE projector.erasure SET finished_at = NULL") == ["erasure-unfinished"]
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await found("DELETE FROM projector.erasure")
