"""Bisect: the first offset at which what is stored and what the log says parted."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

import asyncpg
import msgspec

from events.history import WholeLog
from projector.aggregate import AUDIT_SECONDS_MAX
from projector.declare import Aggregate, Count, Projection, Row
from projector.differences import comparable, select_cells
from projector.errors import UsageError
from projector.explain import CHECKPOINT, Numbers, account_of, advice, read_numbers
from projector.history import values_of
from projector.home import counting, quoted
from projector.movements import REFUSED, Course, Report, course_of, searching, steps
from projector.snapshots import snapshot, tables_of
from projector.statements import live
from projector.watch import CounterOf, Watch

PROVEN: Final = """
SELECT did, as_of FROM projector.audit_account WHERE did = ANY($1::text[]) AND as_of > 0
"""
ROWS_MAX: Final = 100
"""How many differing rows are listed; all are counted."""


class PartedRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row that is not as the log says, and the first event whose effect it lacks.

    `kind` is `missing`, `extra` or `altered`. `log_offset` is None where no event of the log would
    make the row what it is. The rolling audit found the row right as of `proven_through`: so
    whatever made it wrong came after that; None where it has not looked at the account yet.
    """

    uri: str
    kind: str
    log_offset: int | None
    proven_through: int | None


class Parting(msgspec.Struct, frozen=True, kw_only=True):
    """Where the stored and the true value parted; `parted` false: they agree.

    `log_offset` is the first offset whose effect is missing, None where no event of the log
    explains what is stored. `certain` and `inferred` say in sentences what is known for sure, and
    what only follows if nobody wrote to the tables by hand.
    """

    of: str
    key: str
    parted: bool
    stored: int | None
    counted: int | None
    true: int | None
    through: int
    log_offset: int | None
    rows: list[PartedRow]
    rows_total: int
    certain: list[str]
    inferred: list[str]
    advice: str | None


async def bisect_counter(
    connection: asyncpg.Connection, counter: CounterOf, key: str, schema: str, report: Report
) -> Parting:
    """Where a counter left the log: by a row that it counts, or by itself.

    Raises `UsageError` for a key that nothing ever counted for.
    """
    count = counter.count
    table = live(counter.projection, schema).counted(count)
    uri = quoted(count.of.child(count.child).columns[0]) if count.child else "uri"
    uris = f"SELECT {uri}::text FROM {table} WHERE {quoted(count.by)} = $1{counting(count)}"
    async with snapshot(connection, tables_of([counter.aggregate], schema)):
        numbers = await read_numbers(connection, counter, key, schema)
        found = await connection.fetch(uris, key, timeout=AUDIT_SECONDS_MAX)
    async with searching(
        connection, counter, key, numbers.checkpoint, report, schema=schema
    ) as search:
        course = await course_of(search)
    has = {str(row[0]) for row in found}
    if not (course.movements or has or numbers.kept or numbers.stored):
        raise UsageError(f"nothing ever counted for {key!r} in {counter.full_name}; check the key")
    differing = sorted(has ^ course.counted)
    proven = await _proven(connection, differing)
    rows = [
        PartedRow(
            uri=uri,
            kind="extra" if uri in has else "missing",
            log_offset=course.changed_at.get(uri),
            proven_through=proven.get(uri),
        )
        for uri in differing
    ]
    if rows:
        said = _rows_parted(counter, key, rows)
    elif not numbers.agrees:
        said = _counter_parted(numbers, course)
    else:
        said = None, [f"stored, pending and counted are what the log says: {course.value:,}"], []
    offset, certain, inferred = said
    parted = bool(rows) or not numbers.agrees
    return Parting(
        of=counter.full_name, key=key, parted=parted, stored=numbers.kept,
        counted=numbers.counted, true=course.value, through=numbers.checkpoint, log_offset=offset,
        rows=rows[:ROWS_MAX], rows_total=len(rows), certain=certain, inferred=inferred,
        advice=_advice(counter, key, rows, parted),
    )  # fmt: skip


def _advice(counter: CounterOf, key: str, rows: Sequence[PartedRow], parted: bool) -> str | None:
    owners = sorted({account_of(row.uri) or "" for row in rows} - {""})
    if owners:
        return f"projector heal {' '.join(map(shlex.quote, owners[:10]))}" + (
            f" and {len(owners) - 10:,} more" if len(owners) > 10 else ""
        )
    return advice(counter, key).partition(",")[0] if parted else None


Said = tuple[int | None, list[str], list[str]]


def _rows_parted(counter: CounterOf, key: str, rows: Sequence[PartedRow]) -> Said:
    table = counter.count.table
    missing = sum(row.kind == "missing" for row in rows)
    offsets = [row.log_offset for row in rows if row.log_offset is not None]
    unknown = len(rows) - len(offsets)
    certain = [
        f"of the rows of {table} counted for {key}, {missing:,} are missing and "
        f"{len(rows) - missing:,} are there that must not be"
    ]
    if unknown:
        certain.append(f"{unknown:,} of them no event of the log ever made: written by hand")
    if not offsets:
        return None, certain, []
    first = min(offsets)
    certain.append(f"offset {first} is the first event whose effect they lack")
    certain += _audited(rows)
    inferred = [f"rows and log parted at offset {first}, or later, by a change made by hand"]
    return first, certain, inferred


def _audited(rows: Sequence[PartedRow]) -> list[str]:
    """What the rolling audit knows of rows that are wrong by now."""
    proven = [row.proven_through for row in rows if row.proven_through is not None]
    if not proven:
        return []
    return [
        f"the rolling audit found {len(proven):,} of the {len(rows):,} right as of offset "
        f"{min(proven)} or later: they have been made wrong after that"
    ]


def _counter_parted(numbers: Numbers, course: Course) -> Said:
    kept = numbers.kept
    certain = [
        f"the rows are what the log says, {course.value:,}; the counter says {kept:,} "
        f"(stored {numbers.stored:,}, pending {kept - numbers.stored:+,})"
    ]
    points = values_of(course.movements)
    equal = [at for at, point in enumerate(points) if point.value == kept]
    if not equal and kept:
        certain.append(f"the log's own value was never {kept:,}")
        return None, certain, ["no event explains the number: written by hand, or from the outside"]
    follower = points[equal[-1] + 1 if equal else 0]
    last = points[equal[-1]].log_offset if equal else 0
    certain.append(
        f"the log's own value was {kept:,} for the last time from offset {last} to "
        f"{follower.log_offset - 1}"
    )
    inferred = [
        f"offset {follower.log_offset} is the first event that the counter did not follow; if it "
        "was changed by hand, or left out some events and followed others, it may be another"
    ]
    return follower.log_offset, certain, inferred


async def bisect_row(
    connection: asyncpg.Connection, projection: Projection, uri: str, schema: str, report: Report
) -> Parting:
    """Where a row left the log: the first event whose effect it lacks. Raises `UsageError`."""
    did = _owner(projection, uri)
    async with snapshot(connection, tables_of([projection], schema)):
        through = await connection.fetchval(CHECKPOINT, projection.name) or 0
        has = await _state(connection, projection, uri, schema)
    course = await _states(connection, projection, uri, through=through, report=report)
    must = course[-1][1] if len(course) > 1 else None
    if len(course) == 1 and has is None:
        raise UsageError(f"{projection.name} never had a row {uri!r}; check the at-uri")
    offset, certain, inferred = _row_parted(course, has)
    rows: list[PartedRow] = []
    if has != must:
        proven = (await _proven(connection, [uri])).get(uri)
        kind = _kind(has, must)
        rows.append(PartedRow(uri=uri, kind=kind, log_offset=offset, proven_through=proven))
        certain += _audited(rows)
    return Parting(
        of=projection.name, key=uri, parted=has != must, stored=None, counted=None, true=None,
        through=through, log_offset=offset,
        rows=rows, rows_total=len(rows), certain=certain, inferred=inferred,
        advice=None if has == must else f"projector heal {shlex.quote(did)}",
    )  # fmt: skip


async def _proven(connection: asyncpg.Connection, uris: Sequence[str]) -> dict[str, int]:
    """Through which offset the rolling audit has proven the accounts of rows, by the rows' uris."""
    owner_of = {uri: account_of(uri) for uri in uris}
    dids = sorted({did for did in owner_of.values() if did is not None})
    as_of = {str(did): int(offset) for did, offset in await connection.fetch(PROVEN, dids)}
    return {uri: as_of[did] for uri, did in owner_of.items() if did in as_of}


State = tuple[str, Row] | None
"""`row` or `waiting`, and what there is; None for nothing."""


def _owner(projection: Projection, uri: str) -> str:
    did, _, path = uri.removeprefix("at://").partition("/")
    if not (uri.startswith("at://did:") and path.partition("/")[0] in projection.collections):
        raise UsageError(
            f"{uri!r} is no record of {projection.name}; write at://did:…/{projection.collection}/…"
        )
    return did


def _kind(has: State, must: State) -> str:
    return "missing" if has is None else "extra" if must is None else "altered"


async def _state(
    connection: asyncpg.Connection, projection: Projection, uri: str, schema: str
) -> State:
    table, home = projection.table, live(projection, schema)
    same = comparable(projection)
    places = [("row", home.base(table))]
    if table.unique:
        places.append(("waiting", home.shelf(table)))
    for name, relation in places:
        query = f"SELECT {select_cells(projection, home)} FROM {relation} AS t WHERE uri = $1"
        row = await connection.fetchrow(query, uri)
        if row is not None:
            return name, same(tuple(row))
    return None


async def _states(
    connection: asyncpg.Connection,
    projection: Projection,
    uri: str,
    *,
    through: int,
    report: Report,
) -> list[tuple[int, State]]:
    """What the row must have been from which offset on; nothing from offset 0 on."""
    did, same = _owner(projection, uri), comparable(projection)
    refused = frozenset(row[0] for row in await connection.fetch(REFUSED, projection.name))
    # Any column will do: what is watched is the row, not who counts it.
    counter = CounterOf(_NOBODY, "", Count(projection, "uri"))
    watch = Watch(counter, did, refused=refused, decode=projection.decoder())
    course: list[tuple[int, State]] = [(0, None)]
    log = WholeLog()
    try:
        for begin, end in steps(0, through):
            for event in await log.of_accounts(
                connection, [did], begin, end, projection.collections
            ):
                watch.eat(event)
                found = watch.row_of(uri)
                state = found and ("row" if found[1] else "waiting", found[0])
                if state != course[-1][1]:
                    course.append((event.log_offset, state))
            report(end, through)
    finally:
        await log.close()
    return [(at, state and (state[0], same(state[1]))) for at, state in course]


_NOBODY: Final = Aggregate("", 0, "", "", {}, "")


def _row_parted(course: Sequence[tuple[int, State]], has: State) -> Said:
    if course[-1][1] == has:
        return None, [f"the row is what the log says since offset {course[-1][0]}"], []
    equal = [at for at, (_, state) in enumerate(course) if state == has]
    said = (
        "there is none" if has is None else f"it is {'' if has[0] == 'row' else 'waiting, '}there"
    )
    if not equal:
        by_hand = ["written by hand, or by a program that makes other rows of the same records"]
        if len(course) == 1:
            return None, [f"{said}, and no event of the log is about it"], by_hand
        offset = course[-1][0]
        certain = [
            f"{said}, but never was like that by the log",
            f"offset {offset} is the event by which the row must be what it is not",
        ]
        return offset, certain, by_hand
    last, follower = course[equal[-1]][0], course[equal[-1] + 1][0]
    certain = [
        f"{said}; by the log it was so for the last time from offset {last} to {follower - 1}",
        f"offset {follower} is the first event whose effect the row lacks",
    ]
    inferred = [f"row and log parted at offset {follower}, or later, by a change made by hand"]
    return follower, certain, inferred
