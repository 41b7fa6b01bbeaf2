"""The truth of an account equals the tables that the engine makes, and those of the model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from events.event import Event
from events.jetstream_wire import JetstreamDecoder
from tests.support import engine
from tests.support.corpus import GOLDEN_SETS, golden_lines
from tests.support.harness import PROJECTIONS, Stage
from tests.support.histories import POST, budget, deliveries, histories, long_lists, made
from tests.support.model import TABLES, Model
from tests.truth.folding import all_differences, truths

windows = long_lists(st.sampled_from((1, 2, 3, 5, 8, 13, 50)), 60)
Rows = list[dict[str, Any]]


def rows_of_truth(events: Sequence[Event]) -> dict[str, Rows]:
    """The truth as tables: the rows of each, and the list of duplicates."""
    tables: dict[str, Rows] = {"duplicate_record": []}
    for projection in PROJECTIONS:
        columns, found = projection.table.columns, truths(events, projection).values()
        tables[projection.table.name] = [
            dict(zip(columns, row, strict=False)) for one in found for row in one.rows.values()
        ]
        tables["duplicate_record"] += [
            {"uri": uri, "cid": cid, "duplicateOf": of, "indexedAt": at}
            for one in found
            for uri, (cid, of, at) in one.listed.items()
        ]
    return {name: sorted(rows, key=lambda r: str(r["uri"])) for name, rows in tables.items()}


def assert_as_the_model(events: Sequence[Event]) -> None:
    model = Model(events)
    tables, found = model.tables(), rows_of_truth(events)
    assert found["duplicate_record"] == tables["duplicate_record"]
    for table in TABLES.values():
        plain = [in_columns_of(row, found[table]) for row in tables[table]]
        assert [with_lists(row) for row in found[table]] == [with_lists(row) for row in plain]


def in_columns_of(row: dict[str, Any], rows: Rows) -> dict[str, Any]:
    return {column: row[column] for column in rows[0]} if rows else row


def with_lists(row: dict[str, Any]) -> dict[str, Any]:
    """JSON as what it says, however it is written."""
    return {
        column: json.loads(cell) if column in ("langs", "tags") and cell else cell
        for column, cell in row.items()
    }


@budget(80)
@given(events=deliveries())
def test_the_truth_is_that_of_the_model(events: list[Event]) -> None:
    numbered = [event_at(i, event) for i, event in enumerate(events, 1)]
    assert_as_the_model(numbered)


def event_at(offset: int, event: Event) -> Event:
    return Event(offset, *[getattr(event, name) for name in event.__struct_fields__[1:]])


async def tables_are_the_truth(stage: Stage, events: list[Event], sizes: list[int]) -> None:
    await stage.begin(events)
    await stage.finish(sizes)
    assert await all_differences(stage.auditor, stage.log) == []


@budget(70)
@given(events=deliveries(), sizes=windows)
def test_tables_hold_the_truth_in_any_windows(
    stage: Stage, runner: asyncio.Runner, events: list[Event], sizes: list[int]
) -> None:
    runner.run(tables_are_the_truth(stage, events, sizes))


@budget(30)
@given(events=histories(odd_revs=True), sizes=windows)
def test_events_without_revs_make_the_same_truth(
    stage: Stage, runner: asyncio.Runner, events: list[Event], sizes: list[int]
) -> None:
    runner.run(tables_are_the_truth(stage, events, sizes))


def test_after_a_delete_without_a_revision_a_create_is_the_first(
    stage: Stage, runner: asyncio.Runner
) -> None:
    create, delete, again = (made(n, w, POST) for n, w in enumerate(("create", "delete", "create")))
    odd = msgspec.structs.replace(create, rev=None), msgspec.structs.replace(delete, rev="odd")
    events = [*odd, again]
    for sizes in ([3], [1, 1, 1], [2, 1], [1, 2]):
        runner.run(tables_are_the_truth(stage, events, sizes))


@budget(4)
@given(events=deliveries(100))
def test_a_daemon_makes_the_truth(
    stage: Stage, runner: asyncio.Runner, events: list[Event]
) -> None:
    async def run() -> None:
        await stage.begin(events)
        await engine.project(stage.database, window_events=3)
        assert await all_differences(stage.auditor, stage.log) == []

    runner.run(run())


@pytest.mark.parametrize("name", GOLDEN_SETS)
async def test_of_captured_events_the_tables_hold_the_truth(
    stage: Stage, runner: asyncio.Runner, name: str
) -> None:
    decoder = JetstreamDecoder()
    decoded = [decoder.decode(line) for line in golden_lines(name)]
    events = [event for event in decoded if isinstance(event, Event)]
    assert events

    await asyncio.to_thread(runner.run, tables_are_the_truth(stage, events, [100, 7]))
    assert any(rows_of_truth(stage.log).values())
