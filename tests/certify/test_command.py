"""`projector certify` as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

from projector.database import Database
from tests.certify.test_certify import NAMES, databases
from tests.support.cli import Place
from tests.support.records import like, post

QUICK = ("--rounds", "1", "--events", "60")


async def test_records_of_the_log_or_of_a_file(database: Database, tmp_path: Path) -> None:
    place = Place(tmp_path, "--database", database.url)
    # No log yet: records are made up. Then those of the log.
    sheet = await place.json("certify", "repost", *QUICK, "--seed", "5")
    assert sheet.keys() == {"passed", "seed", "rounds", "events", "checks"}
    assert (sheet["passed"], sheet["seed"], sheet["rounds"], sheet["events"]) == (True, 5, 1, 60)
    assert [(c["projection"], c["name"]) for c in sheet["checks"]] == [("repost", n) for n in NAMES]
    assert all(c.keys() == {"projection", "name", "passed", "detail", "seed"}
               for c in sheet["checks"])  # fmt: skip
    await place.ok("init")
    await place.ok("ingest", "generate:events=500,seed=3")
    told = await place.ok("certify", "repost", *QUICK)
    assert "passed: 15 checks" in told.text
    assert await databases(database) == []


async def test_a_failure_is_repeated_by_what_is_typed(database: Database, tmp_path: Path) -> None:
    place = Place(tmp_path, "--database", database.url)
    file = tmp_path / "records.jsonl"
    # A lexicon's own limits: each of these posts is refused.
    bad = [json.dumps(post(text="x" * 4000 + str(n))) for n in range(5)]
    file.write_text("\n".join([json.dumps(like()), *bad]) + "\n")
    words = ("certify", "post", "like", *QUICK, "--records", str(file))
    ended = await place.run(*words, "--seed", "9")
    assert ended.code == 1
    assert "each of 5 records is refused" in ended.text
    assert "projector certify post" in ended.complaint
    assert f"--records {file} repeats the first" in ended.complaint


async def test_wrong_use_is_refused(tmp_path: Path) -> None:
    place = Place(tmp_path)
    none = tmp_path / "none.jsonl"
    none.write_text('{"$type":"x"}\nnonsense\n')
    for words, told in {
        ("certify",): "name the projections",
        ("certify", "nothing"): "no projection is named nothing",
        ("certify", "like", "--rounds", "0"): "--rounds is 1 or more",
        ("certify", "like", "--records", str(tmp_path / "missing")): "cannot read",
        ("certify", "like", "--records", str(none)): "line 2 is no JSON object",
    }.items():
        ended = await place.run(*words)
        assert ended.code == 2, ended.err
        assert told in ended.complaint
    assert not (tmp_path / "projector-data").exists()
