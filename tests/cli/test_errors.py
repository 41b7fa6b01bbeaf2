"""Every error is one line that names the thing, the cause and the next step; codes are kept to."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from events.tasks import end
from projector.cli import known_error
from projector.database import Database
from tests.support.cli import Ended, Place
from tests.support.proxy import socket_of, to_socket
from tests.support.watch import Watch

USAGE, CANNOT_CONNECT, SCHEMA, CORRUPTION, HELD = 2, 3, 4, 5, 6
NOWHERE = "postgresql://somebody:hunter2@127.0.0.1:1/db"


def assert_one_line(ended: Ended, code: int, *words: str) -> None:
    """The whole of standard error is one line, and it says all these words."""
    assert ended.code == code, ended.err
    assert ended.err == f"projector: {ended.complaint}\n"
    assert [word for word in words if word not in ended.complaint] == []


def test_a_server_that_gives_no_answer_is_said_with_what_to_type() -> None:
    """Found by faults: it was the bare word TimeoutError."""
    known = known_error(TimeoutError())
    assert known is not None
    assert known.exit_code == CANNOT_CONNECT
    assert "no answer in time; type the command again" in str(known)


MISUNDERSTOOD: dict[str, tuple[list[str], list[str]]] = {
    "command": (["frobnicate"], ["frobnicate", "ingest", "--help"]),
    "subcommand": (["dead-letters", "frob"], ["frob", "retry"]),
    "flag": (["status", "--nope"], ["--nope", "--help"]),
    "flag-first": (["--json", "status"], ["options come after the command", "--json"]),
    "no-source": (["ingest"], ["SOURCE"]),
    "source": (["ingest", "nonsense"], ["'nonsense' is no source", "file:PATH", "generate:"]),
    "up-source": (["up", "nonsense"], ["'nonsense' is no source"]),
    "jetstream-host": (["ingest", "jetstream:nowhere"], ["jetstream"]),
    "generate-key": (["ingest", "generate:foo=1"], ["'foo'", "seed"]),
    "generate-value": (["generate", "events=many"], ["events", "many"]),
    "redis-stream": (["ingest", "redis://127.0.0.1:1/0"], ["stream", "redis://localhost:6379/0"]),
    "target": (["ingest", "generate:events=1", "--to", "http://x"], ["'http'", "redis"]),
    "endless": (["generate", "events=0", "--to", "x.jsonl"], ["endless", "events=N"]),
    "unwritable": (["generate", "events=1", "--to", "no/such/x.jsonl"], ["no/such/x.jsonl"]),
    "setting": (["status", "--window-events-max", "many"], ["--window-events-max many"]),
    "range": (["status", "--batch-events-max=0"], ["--batch-events-max 0", "least is 1"]),
    "no-value": (["status", "--lease-seconds"], ["--lease-seconds needs a value"]),
    "no-id": (["dead-letters", "show"], ["requires an argument"]),
    "no-database": (["status"], ["--database", "PROJECTOR_DATABASE_URL", "--data-dir", "init"]),
}


@pytest.mark.parametrize("case", MISUNDERSTOOD)
async def test_a_command_that_is_not_understood_says_why_and_what_there_is(
    tmp_path: Path, case: str
) -> None:
    words, told = MISUNDERSTOOD[case]
    assert_one_line(await Place(tmp_path).run(*words), USAGE, *told)
    assert not (tmp_path / "projector-data").exists()


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("PROJECTOR_DATABASEURL", "x", "did you mean PROJECTOR_DATABASE_URL?"),
        ("PROJECTOR_FROB", "1", "projector settings lists those there are"),
        ("PROJECTOR_POLL_SECONDS", "soon", "PROJECTOR_POLL_SECONDS=soon is no number"),
        ("PROJECTOR_STREAM_TRIM", "perhaps", "is no true or false"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL='loud' is none of"),
    ],
)
async def test_a_variable_that_is_not_understood_stops_the_start(
    tmp_path: Path, name: str, text: str, told: str
) -> None:
    assert_one_line(await Place(tmp_path, **{name: text}).run("settings"), USAGE, name, told)


@pytest.mark.parametrize(
    "url",
    [
        NOWHERE,
        "postgresql://127.0.0.1:1/db?user=somebody&password=hunter2",
        "host=127.0.0.1 user=somebody password=hunter2",
        "postgresql://somebody:hunter2@[half",
    ],
)
async def test_a_server_that_cannot_be_reached_is_named_without_its_password(
    tmp_path: Path, url: str
) -> None:
    ended = await Place(tmp_path).run("status", "--database", url)
    assert_one_line(ended, CANNOT_CONNECT, "***", "cannot connect", "--database")
    assert "hunter2" not in ended.err


async def test_every_command_that_needs_a_server_ends_with_3_without_one(tmp_path: Path) -> None:
    place = Place(tmp_path, PROJECTOR_DATABASE_URL=NOWHERE)
    for words in (["init"], ["ingest", "generate:events=1"], ["run"]):
        assert_one_line(await place.run(*words), CANNOT_CONNECT, "***", "Connection refused")


async def test_a_file_that_is_missing_cannot_be_read(ready: Place) -> None:
    ended = await ready.run("ingest", "file:missing.jsonl")
    assert_one_line(ended, CANNOT_CONNECT, "missing.jsonl", "No such file")


async def test_a_traceback_comes_only_with_debug(tmp_path: Path) -> None:
    ended = await Place(tmp_path).run("status", "--database", NOWHERE, "--debug")
    assert ended.code == CANNOT_CONNECT
    assert "Traceback" in ended.err
    assert ended.err.splitlines()[-1].startswith("projector: cannot connect")
    assert "hunter2" not in ended.err


async def test_a_database_without_schema_is_told_so(place: Place) -> None:
    for words in (["ingest", "generate:events=1"], ["run"], ["verify"]):
        assert_one_line(await place.run(*words), SCHEMA, "projector init")


async def test_what_another_version_of_a_projection_made_is_left_alone(
    ready: Place, watch: Watch
) -> None:
    await watch.execute(
        "UPDATE projector.checkpoint SET version = version + 1 WHERE projection = 'like'"
    )
    told = ["like", "version 2", "projector rebuild"]
    assert_one_line(await ready.run("run", "--until-caught-up"), SCHEMA, *told)
    assert_one_line(await ready.run("run", "like"), SCHEMA, *told)
    ended = await ready.run("run", "follow", "--until-caught-up")
    assert ended.code == 0, ended.err


async def test_a_newer_schema_is_left_alone(ready: Place, watch: Watch) -> None:
    await watch.execute("INSERT INTO projector.migration (number, name) VALUES (9999, 'later')")
    assert_one_line(await ready.run("status"), SCHEMA, "9999", "upgrade")


async def test_a_checkpoint_beyond_the_log_is_corruption(ready: Place, watch: Watch) -> None:
    await watch.execute(
        "UPDATE projector.checkpoint SET log_offset = 1000 WHERE projection = 'follow'"
    )
    ended = await ready.run("run")
    assert ended.code == CORRUPTION
    assert "follow is at offset 1000, beyond the log's head 0" in ended.complaint
    assert "backup" in ended.complaint


async def test_a_source_has_one_ingest(ready: Place, watch: Watch) -> None:
    endless = "generate:seed=3,rate=2000"
    async with ready.start("ingest", endless) as first:
        await watch.until(watch.head, 1)
        ended = await ready.run("ingest", endless, "--lease-seconds", "0.3")
        assert ended.code == HELD
        assert "is being ingested by" in ended.complaint
        assert str(first.pid) in ended.complaint
        assert first.is_running


async def test_an_unknown_projection_and_letter_are_usage_errors(ready: Place) -> None:
    assert_one_line(await ready.run("run", "folow"), USAGE, "folow", "follow", "post_agg")
    assert_one_line(await ready.run("dead-letters", "show", "7"), USAGE, "id 7", "list")
    assert_one_line(await ready.run("dead-letters", "drop"), USAGE, "--all", "--reason")


async def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    place = Place(tmp_path)
    read, write = os.pipe()
    os.close(read)
    ended = await place.run_into(write, "generate", "events=50000")
    os.close(write)
    assert "Traceback" not in ended.err
    assert ended.code == 130


READY = b"Z\x00\x00\x00\x05I"
"""What Postgres says last when it has let somebody in."""
FIELDS = b"SFATAL\x00VFATAL\x00C57P01\x00Mterminating connection\x00\x00"
LAST_WORD = b"E" + (4 + len(FIELDS)).to_bytes(4, "big") + FIELDS


@asynccontextmanager
async def dying(path: str) -> AsyncIterator[int]:
    """A port to a server that says to everybody it lets in that it ends; the end of the connection
    is still on its way."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream, downstream = await to_socket(path)()

        async def said() -> None:
            while piece := await upstream.read(65_536):
                writer.write(piece.replace(READY, READY + LAST_WORD, 1))
                await writer.drain()

        saying = asyncio.create_task(said())
        try:
            while piece := await reader.read(65_536):
                downstream.write(piece)
        finally:
            await end(saying)
            downstream.close()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize(
    ("command", "told"),
    [("run", "cannot connect to"), ("status", "again"), ("verify", "again")],
)
async def test_a_server_that_ends_while_a_command_begins_is_said_to_be_away(
    tmp_path: Path, database: Database, command: str, told: str
) -> None:
    """Found by a soak: *cannot switch to state 12; another operation (2) is in progress*."""
    async with dying(socket_of(database.url)) as port:
        url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
        ended = await Place(tmp_path, "--database", url).run(command)
    assert_one_line(ended, CANNOT_CONNECT, "the server went away", told)
