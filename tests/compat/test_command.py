"""`--compat reference` on the command line: what is offered, what is refused, and never both."""

from __future__ import annotations

from pathlib import Path

import asyncpg
import pytest

from tests.support.cli import Place

USAGE, SCHEMA = 2, 4
EVENTS = 300
FOLLOWS = "SELECT count(*) FROM {}.follow"


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> Place:
    """Where commands run in the mode."""
    return Place(
        tmp_path,
        "--database",
        database_url,
        PROJECTOR_PROJECTIONS="*",
        PROJECTOR_COMPAT="reference",
        PROJECTOR_SCHEMA="theirs",
    )


async def count(url: str, schema: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(FOLLOWS.format(schema)))
    finally:
        await connection.close()


async def test_both_modes_over_one_log_in_schemas_of_their_own(
    place: Place, database_url: str
) -> None:
    correct = {
        "PROJECTOR_COMPAT": "correct",
        "PROJECTOR_SCHEMA": "bsky",
        "PROJECTOR_PROJECTIONS": "follow",
    }
    await place.ok("init")
    await place.ok("init", env=correct)
    await place.ok("ingest", f"generate:events={EVENTS},seed=3")
    ran = await place.json("run", "--until-caught-up")
    assert ran == {"reference": EVENTS}
    await place.ok("run", "--until-caught-up", env=correct)
    theirs, ours = await count(database_url, "theirs"), await count(database_url, "bsky")
    assert theirs == ours > 0

    (status,) = (await place.json("status"))["projections"]
    assert (status["name"], status["checkpoint"], status["lag_events"]) == ("reference", EVENTS, 0)

    # What works by other means than applying events one by one is refused, each in one line.
    for words in (["verify"], ["rebuild", "--all"]):
        ended = await place.run(*words)
        assert ended.code == USAGE, ended.err
        assert "not offered with compat=reference" in ended.complaint
    ended = await place.run("forget", "did:plc:a", env=correct)
    assert ended.code == USAGE
    assert "theirs" in ended.complaint

    # Neither mode writes to the other's tables.
    for command in (["init"], ["run", "--until-caught-up"]):
        ended = await place.run(*command, env={**correct, "PROJECTOR_SCHEMA": "theirs"})
        assert ended.code == SCHEMA, ended.err
        assert "kept with compat=reference; set PROJECTOR_COMPAT=reference" in ended.complaint
        ended = await place.run(*command, env={"PROJECTOR_SCHEMA": "bsky"})
        assert ended.code == SCHEMA, ended.err
        assert "keeps its tables in the schema theirs" in ended.complaint


async def test_a_schema_that_has_tables_is_not_shared(place: Place) -> None:
    correct = {"PROJECTOR_COMPAT": "correct", "PROJECTOR_PROJECTIONS": "follow"}
    await place.ok("init", env=correct)
    ended = await place.run("init")
    assert ended.code == SCHEMA
    assert "the schema theirs has tables already" in ended.complaint
    assert "--schema theirs_reference" in ended.complaint


async def test_a_mode_that_there_is_not_is_said(place: Place) -> None:
    ended = await place.run("status", env={"PROJECTOR_COMPAT": "exact"})
    assert ended.code == USAGE
    assert "none of: correct, reference" in ended.complaint
    ended = await place.run("status", env={"PROJECTOR_PROJECTIONS": "follow"})
    assert ended.code == USAGE
    assert "keeps all tables" in ended.complaint
