"""Projections that are broken on purpose, each in one way, as operators break them."""

from __future__ import annotations

import itertools
import random
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from events.event import Event
from projector.declare import Aggregate, Projection, Row
from tests.extend.test_new_projection import Block, block_agg, block_row, blocks

SUBJECTS = [f"did:plc:{name * 24}" for name in "mnopqrst"]
RECORDS = [
    msgspec.json.encode(
        {"$type": blocks.collection, "subject": subject, "createdAt": f"2026-07-0{n}T12:00:00Z"}
    )
    for n, subject in enumerate(SUBJECTS, 1)
]
AT = blocks.table.columns.index
_numbers = itertools.count()


def _with(row: Row, column: str, value: Any) -> Row:
    return (*row[: AT(column)], value, *row[AT(column) + 1 :])


def by_the_clock(event: Event, record: Block) -> Row:
    return _with(block_row(event, record), "createdAt", datetime.now(UTC).isoformat())


def by_chance(event: Event, record: Block) -> Row:
    return _with(block_row(event, record), "cid", f"{random.random()}")


def by_state(event: Event, record: Block) -> Row:
    return _with(block_row(event, record), "cid", str(next(_numbers)))


def by_the_hour(event: Event, record: Block) -> Row:
    hour = datetime.now(UTC).strftime("%Y-%m-%dT%H:00:00.000Z")
    return _with(block_row(event, record), "createdAt", hour)


def raising(event: Event, record: Block) -> Row:
    return _with(block_row(event, record), "cid", {"n": 1}["cid"])


def raising_on_odd(event: Event, record: Any) -> Row:
    return block_row(event, Block(record["subject"], record["createdAt"]))


def numbers(event: Event, record: Block) -> Row:
    return _with(block_row(event, record), "cid", 5)


def of_the_subject(event: Event, record: Block) -> Row:
    return _with(block_row(event, record), "creator", record.subject)


def nothing_stored(event: Event, record: Block) -> Row:
    return _with(block_row(event, record), "createdAt", None)


def too_short(event: Event, record: Block) -> Row:
    return block_row(event, record)[:-1]


WITHOUT_COLUMN = blocks.ddl.replace('    "createdAt" varchar COLLATE "C" NOT NULL,\n', "")
WITHOUT_COLUMN = WITHOUT_COLUMN.replace('LEAST("createdAt", "indexedAt")', '"indexedAt"')
WITHOUT_UNIQUE = blocks.ddl.replace(
    ' STORED,\n    CONSTRAINT actor_block_unique_subject UNIQUE (creator, "subjectDid")', " STORED"
)
WITHOUT_LIST = blocks.ddl.partition("CREATE TABLE IF NOT EXISTS {schema}.duplicate_record")[0]


def pure(event: Event, record: Block) -> Row:
    """Names a module of which only a pure part is used."""
    moment = datetime.fromisoformat(record.createdAt)
    known = uuid.uuid5(uuid.NAMESPACE_URL, event.uri)
    assert moment.tzinfo is not None and known.version == 5
    return block_row(event, record)


BROKEN: dict[str, tuple[Projection, str, str]] = {
    "a clock": (replace(blocks, row=by_the_clock), "pure", "createdAt.*datetime.now"),
    "chance": (replace(blocks, row=by_chance), "pure", "cid.*random.random"),
    "a state of its own": (replace(blocks, row=by_state), "pure", "cid"),
    "the hour": (replace(blocks, row=by_the_hour), "pure", "datetime.now"),
    "a claim of everybody": (
        replace(blocks, table=replace(blocks.table, unique=("subjectDid",))),
        "rows",
        "lacks creator",
    ),
    "a table without a column": (replace(blocks, ddl=WITHOUT_COLUMN), "tables", "createdAt"),
    "a table without its claim": (
        replace(blocks, ddl=WITHOUT_UNIQUE),
        "tables",
        "unique index on creator, subjectDid alone",
    ),
    "a table without a list of those that wait": (
        replace(blocks, ddl=WITHOUT_LIST),
        "tables",
        r"no table duplicate_record.*duplicate_record\.sql",
    ),
    "a schema by its name": (
        replace(blocks, ddl=blocks.ddl.replace("{schema}", "bsky")),
        "tables",
        "schema .bsky. does not exist",
    ),
    "ddl that is none": (replace(blocks, ddl="CREATE TABEL x (y int);"), "tables", "refused"),
    "a row that raises": (replace(blocks, row=raising), "rows", "KeyError.*daemon would stop"),
    "a row that raises on odd records": (
        replace(blocks, record=dict[str, Any], row=raising_on_odd),
        "odd records",
        "raises (KeyError|AttributeError|TypeError)",
    ),
    "a number in a text": (replace(blocks, row=numbers), "rows", "cid the value 5"),
    "another's row": (replace(blocks, row=of_the_subject), "rows", "creator="),
    "a row too short": (replace(blocks, row=too_short), "rows", "5 values of 6 columns"),
    "a row that Postgres refuses": (replace(blocks, row=nothing_stored), "stored", "null value"),
}
"""What is broken: the projection, the check that must fail, and what its line must say."""


def counted(projection: Projection) -> Aggregate:
    """An aggregate over a broken projection."""
    counters = {n: replace(c, of=projection) for n, c in block_agg.counters.items()}
    return replace(block_agg, counters=counters)
