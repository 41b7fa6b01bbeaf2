"""`projector certify` as an operator types it, with a projection of a package of theirs."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from projector.commands.certify import certify
from projector.database import Database
from projector.errors import UsageError
from tests.certify.test_certify import NAMES, databases
from tests.support.cli import Place
from tests.support.records import like, post

QUICK = ("--rounds", "1", "--events", "60")
PACKAGE = """
import msgspec
from projections.lexicon import moment
from projections.rows import ddl
from projector.declare import Projection, Table

class ListItem(msgspec.Struct):
    subject: str
    list: str
    createdAt: str

THEIR_ITEM_SQL = '''
CREATE TABLE IF NOT EXISTS {schema}.their_item (
    uri varchar COLLATE "C" PRIMARY KEY, cid varchar COLLATE "C" NOT NULL,
    creator varchar COLLATE "C" NOT NULL, "subjectDid" varchar COLLATE "C" NOT NULL,
    "listUri" varchar COLLATE "C" NOT NULL, "createdAt" varchar COLLATE "C" NOT NULL,
    "indexedAt" varchar COLLATE "C" NOT NULL, UNIQUE (creator, "subjectDid", "listUri")
);
CREATE OR REPLACE FUNCTION {schema}.drops() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF new."createdAt" > '2026-07-03' THEN RETURN NULL; END IF; RETURN new; END $$;
CREATE OR REPLACE TRIGGER drops BEFORE INSERT ON {schema}.their_item
    FOR EACH ROW EXECUTE FUNCTION {schema}.drops();
'''

their_items = Projection(
    name="their_item", version=1, collection="app.bsky.graph.listitem", record=ListItem,
    row=lambda e, r: (e.uri, e.cid, e.did, r.subject, r.list, moment(r.createdAt), e.indexed_at),
    table=Table(
        "their_item",
        ("uri", "cid", "creator", "subjectDid", "listUri", "createdAt", "indexedAt"),
        unique=("creator", "subjectDid", "listUri"),
    ),
    ddl=THEIR_ITEM_SQL + ddl("duplicate_record.sql"),
)
"""
ITEMS = [
    {"$type": "app.bsky.graph.listitem", "subject": f"did:plc:{'m' * 24}", "list": f"at://list/{n}",
     "createdAt": f"2026-07-0{n}T12:00:00Z"}
    for n in range(1, 7)
]  # fmt: skip


def packaged(folder: Path) -> str:
    """A package with a projection whose trigger drops rows, as pip would install it."""
    info = folder / "theirs-1.dist-info"
    info.mkdir(parents=True)
    (folder / "theirs.py").write_text(PACKAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[projector.projections]\ntheir_item = theirs:their_items\n"
    )
    return str(folder)


async def test_records_are_those_of_the_log(database: Database, tmp_path: Path) -> None:
    place = Place(tmp_path, "--database", database.url)
    # No log yet: records are made up. Then those of the log.
    sheet = await place.json("certify", "repost", *QUICK, "--seed", "5")
    head = {name: sheet[name] for name in sheet if name != "checks"}
    assert head == {"passed": True, "seed": 5, "rounds": 1, "events": 60, "records": None,
                    "through": None}  # fmt: skip
    assert [(c["projection"], c["name"]) for c in sheet["checks"]] == [("repost", n) for n in NAMES]
    assert all(c.keys() == {"projection", "name", "passed", "detail", "seed"}
               for c in sheet["checks"])  # fmt: skip
    await place.ok("init")
    await place.ok("ingest", "generate:events=500,seed=3")
    sheet = await place.json("certify", "repost", *QUICK)
    assert (sheet["passed"], sheet["through"]) == (True, 500)
    ended = await place.run("certify", "repost", *QUICK, "--through", "501")
    assert (ended.code, ended.complaint) == (
        2, "--through 501 is not in the log, which ends at 500"
    )  # fmt: skip
    assert await databases(database) == []


async def test_a_failure_is_repeated_by_what_is_printed(database: Database, tmp_path: Path) -> None:
    """Of a projection that is installed beside ours; with records of a file that has others'."""
    place = Place(tmp_path, "--database", database.url, PYTHONPATH=packaged(tmp_path / "site"))
    # A lexicon's own limits: each of these posts is refused.
    bad = [post(text="x" * 4000 + str(n)) for n in range(5)]
    (tmp_path / "records.jsonl").write_text(
        "\n".join(json.dumps(record) for record in (like(), *ITEMS, *bad))
    )
    words = ("certify", "post", "their_item", *QUICK, "--records", "records.jsonl", "--seed", "9")
    ended = await place.run(*words)
    assert ended.code == 1
    assert "post, rows: each of 5 records is refused" in ended.text
    assert "post: not tried, as a check before failed: stored, one window" in ended.text
    line = next(x for x in ended.text.splitlines() if x.startswith("their_item, one window"))
    assert line.startswith("their_item, one window (seed 9): row at://did:plc:")
    assert "is missing; its events in the log: " in line
    typed = "certify their_item --seed 9 --rounds 1 --events 60 --records records.jsonl"
    assert f"; projector {typed} repeats that of one window" in ended.complaint
    again = await place.run(*shlex.split(typed))
    assert again.code == 1
    assert line in again.text.splitlines()
    assert await databases(database) == []


@pytest.mark.parametrize(
    ("names", "more", "told"),
    [
        ((), {}, "name the projections"),
        (("nothing",), {}, "no projection is named nothing"),
        (("like",), {"rounds": 0}, "--rounds is 1 or more"),
        (("like",), {"records": Path("missing")}, "cannot read missing"),
        (("like",), {"records": Path("bad.jsonl")}, "line 2 is no JSON object"),
    ],
)
def test_wrong_use_is_refused_before_a_server_starts(
    names: tuple[str, ...],
    more: dict[str, Any],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.jsonl").write_text('{"$type":"x"}\nnonsense\n')
    with pytest.raises(UsageError, match=told):
        asyncio.run(certify(*names, **more))
    assert [path.name for path in tmp_path.iterdir()] == ["bad.jsonl"]
