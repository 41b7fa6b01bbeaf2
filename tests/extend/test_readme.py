"""The projection on the README's page is taken from there and run, as a package of its own."""

from __future__ import annotations

import json
import re
from pathlib import Path

from projector.database import Database
from tests.support import engine
from tests.support.cli import Place
from tests.support.lines import tid

README = Path(__file__).parents[2] / "README.md"
DIDS = [f"did:plc:{name * 24}" for name in "abc"]
CID = f"bafyrei{'a' * 51}a"


def package(folder: Path) -> str:
    """The page's example, installed as pip would."""
    section = README.read_text().split("## Adding a projection")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (toml,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    info = folder / "your_package-1.dist-info"
    info.mkdir(parents=True)
    (folder / "your_package.py").write_text(code)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: your-package\nVersion: 1\n")
    entries = "\n".join(toml.replace('"', "").splitlines()[1:])
    (info / "entry_points.txt").write_text(f"[projector.projections]\n{entries}\n")
    return str(folder)


def line(number: int, did: str, book: str, verdict: str) -> str:
    record = {"$type": "com.example.shelf.review", "book": book, "verdict": verdict,
              "createdAt": "2026-07-04T12:00:00Z"}  # fmt: skip
    commit = {"rev": tid(number), "operation": "create", "collection": record["$type"],
              "rkey": f"r{number}", "record": record, "cid": CID}  # fmt: skip
    time_us = 1_783_166_400_000_000 + number * 1_000_000
    return json.dumps({"did": did, "time_us": time_us, "kind": "commit", "commit": commit})


async def test_the_example_of_the_readme(database: Database, tmp_path: Path) -> None:
    a, b, c = DIDS
    lines = [line(1, a, "isbn:1", "good"), line(2, b, "isbn:1", "bad"), line(3, b, "isbn:2", "ok"),
             line(4, c, "no isbn", "?"), line(5, a, "isbn:1", "good, still")]  # fmt: skip
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    place = Place(tmp_path, "--database", database.url, PYTHONPATH=package(tmp_path / "site"),
                  PROJECTOR_PROJECTIONS="review,review_agg,post")  # fmt: skip
    await place.ok("init")
    await place.ok("ingest", "file:events.jsonl", "--projections", "*")
    await place.ok("run", "--until-caught-up")
    tables = await engine.tables_of(database, ["review", "review_agg", "duplicate_record"])
    assert [(row["creator"], row["book"], row["verdict"]) for row in tables["review"]] == [
        (a, "isbn:1", "good"), (b, "isbn:1", "bad"), (b, "isbn:2", "ok")]  # fmt: skip
    assert {row["book"]: row["reviewCount"] for row in tables["review_agg"]} == {
        "isbn:1": 2, "isbn:2": 1}  # fmt: skip
    assert len(tables["duplicate_record"]) == 1
    letters = await place.json("dead-letters", "list")
    assert "Expected an ISBN" in json.dumps(letters)
    await place.ok("verify", "--rows")
    await place.ok("rebuild", "review", "review_agg")
    await place.ok(
        "certify", "review", "--rounds", "1", "--events", "60", "--records", str(records(tmp_path))
    )


def records(folder: Path) -> Path:
    """Records to try the example with."""
    path = folder / "records.jsonl"
    path.write_text("\n".join(
        json.dumps({"$type": "com.example.shelf.review", "book": f"isbn:{n}", "verdict": "v",
                    "createdAt": f"2026-07-0{n}T12:00:00Z"}) for n in range(1, 8)
    ))  # fmt: skip
    return path
