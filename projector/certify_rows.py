"""Certifying declarations and what makes rows: without a database, each fault as a line."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final

import msgspec

from events.event import Event
from projector.certify_history import START_US
from projector.database import one_line
from projector.declare import Projection, Row
from projector.fold import BAD_RECORD

RECORDS_CHANGED: Final = 20
"""Of how many records every member is replaced by every odd value."""
VALUES: Final[tuple[object, ...]] = (None, True, 0, -1, 1.5, 2**63, "", "x", "\0", [], {}, ["x"])
SHOWN_CHARS_MAX: Final = 120

EVERYTHING: Final = frozenset({""})
IMPURE: Final = {
    "time": frozenset({"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter",
                       "localtime", "gmtime", "ctime", "strftime"}),
    "datetime": frozenset({"now", "utcnow", "today"}),
    "uuid": frozenset({"uuid1", "uuid4"}),
    "os": frozenset({"environ", "getenv", "urandom", "getpid"}),
    **dict.fromkeys(("random", "secrets", "socket", "subprocess", "urllib", "http", "requests",
                     "httpx", "aiohttp", "asyncpg", "psycopg", "redis"), EVERYTHING),
}  # fmt: skip
"""What a row must not ask, by module: these names of it, or all."""


def declared(projection: Projection) -> Iterator[str]:
    """What is wrong with a declaration as such."""
    table = projection.table
    needed = ["uri", *(c for c in (table.time, table.account, table.tombstone) if c)]
    for name in dict.fromkeys(needed + (["creator", "indexedAt"] if table.unique else [])):
        if name not in table.columns:
            yield f"the table {table.name} declares no column {name}, which the engine needs"
    if table.columns[:1] != ("uri",):
        yield f"the first column of {table.name} must be uri"
    if len(set(table.columns)) < len(table.columns):
        yield f"{table.name} declares a column twice"
    for name in sorted({*table.types, *(table.unique or ())} - set(table.columns)):
        yield f"{table.name} names the column {name} in types or unique, and not in columns"


def event_of(projection: Projection, record: bytes, number: int = 1) -> Event:
    """A create of a record."""
    return Event(
        number, "did:plc:ewvi7nxzyoun6zhxrhs64oiz", "commit", "create", projection.collection,
        "3lb4rbqitunyc", "3lb4rbqitunyc",
        "bafyreifrjjaql326rqg7edfj7as24eptuuc3tdod3q6vlxie74hoouyzbu", record,
        START_US + number,
    )  # fmt: skip


def rows_of(projection: Projection, records: Sequence[bytes]) -> list[Row | str | None]:
    """The row of each record, or why there is none; what is no refusal says `raises`."""
    decode = projection.decoder()
    made: list[Row | str | None] = []
    for number, record in enumerate(records, 1):
        try:
            made.append(decode(event_of(projection, record, number)))
        except BAD_RECORD as error:
            made.append(one_line(error))
        except Exception as error:
            made.append(f"raises {type(error).__name__}: {one_line(error)}")
    return made


def shaped(
    projection: Projection, records: Sequence[bytes], made: Sequence[Row | str | None]
) -> Iterator[str]:
    """What is wrong with rows of valid records: none is made, or not what the table is for."""
    refused = [row for row in made if isinstance(row, str)]
    raised = [text for text in refused if text.startswith("raises ")]
    if raised:
        record = records[list(made).index(raised[0])]
        yield f"row {raised[0]}, for {_shown(record)}: a daemon would stop; raise InvalidRecord"
    elif made and len(refused) == len(made):
        yield f"each of {len(made)} records is refused: {refused[0][:SHOWN_CHARS_MAX]}"
    elif made and all(row is None or isinstance(row, str) for row in made):
        yield f"none of {len(made)} records makes a row under a usual record key: nothing to try"
    for number, (record, row) in enumerate(zip(records, made, strict=True), 1):
        if row is None or isinstance(row, str):
            continue
        if fault := _fault(projection, record, row, number):
            yield f"{fault}, for {_shown(record)}"
            return


def _fault(projection: Projection, record: bytes, row: Row, number: int) -> str | None:
    table, event = projection.table, event_of(projection, record, number)
    if type(row) is not tuple or len(row) != len(projection.cells):
        return f"row makes {len(row)} values of {len(projection.cells)} columns of {table.name}"
    cells = dict(zip(table.columns, row, strict=False))
    must = {"uri": event.uri, "creator": event.did, "indexedAt": event.indexed_at}
    for name, value in must.items():
        if cells.get(name, value) != value:
            return f"row says {name}={cells[name]!r}, and the event {value!r}"
    if table.unique and not any(event.did in str(cells.get(name)) for name in table.unique):
        return (
            f"unique={table.unique!r} of {table.name} lacks creator: a claim is one account's, or "
            "accounts would take rows from each other in the order in which they happen to come"
        )
    for name, value in cells.items():
        if name not in table.types and not isinstance(value, str | None):
            return f"row gives {name} the value {value!r}, and the column is text (Table.types)"
    return next(_child_faults(projection, row[len(table.columns) :]), None)


def _child_faults(projection: Projection, cells: Row) -> Iterator[str]:
    for child, rows in zip(projection.children, cells, strict=True):
        if rows == ():
            yield f"row gives {child.name} no rows as (), and must as None"
        for one in rows or ():
            if len(one) != len(child.columns):
                yield f"row makes {len(one)} values of {len(child.columns)} columns of {child.name}"
            elif not all(isinstance(cell, str | None) for cell in one):
                yield f"row gives {child.name} a value that is no text: {one!r}"


def unmoved(projection: Projection, records: Sequence[bytes]) -> Iterator[str]:
    """Records with odd values anywhere: each makes a row or is refused, nothing else is raised."""
    for record in records[:RECORDS_CHANGED]:
        for changed in _changes(msgspec.json.decode(record)):
            raw = msgspec.json.encode(changed)
            (row,) = rows_of(projection, [raw])
            if isinstance(row, str) and row.startswith("raises "):
                yield f"row {row}, for {_shown(raw)}: a daemon would stop; raise InvalidRecord"
                return


def _changes(value: Any) -> Iterator[Any]:
    """The value with one part of it replaced, or taken out."""
    items = list(value.items()) if isinstance(value, dict) else []
    if isinstance(value, list):
        items = list(enumerate(value))
    for key, inner in items:
        for other in (*VALUES, *_changes(inner)):
            changed = value.copy()
            changed[key] = other
            yield changed
        rest = value.copy()
        del rest[key]
        yield rest


def differing(
    projection: Projection, records: Sequence[bytes], one: Sequence[Row | str | None],
    other: Sequence[Row | str | None],
) -> Iterator[str]:  # fmt: skip
    """The first record that made two rows (invariant 3), and what in the row's code may be why."""
    why = f"; {', '.join(asked)} in it" if (asked := sorted(impurities(projection))) else ""
    for record, first, second in zip(records, one, other, strict=True):
        if first != second:
            cells = zip(projection.cells, first or (), second or (), strict=False)
            names = [name for name, a, b in cells if a != b]
            what = f"column {names[0]}" if names and not isinstance(first, str) else "refusal"
            yield (
                f"one record makes two rows, that differ in {what}: row asks a clock, chance or a "
                f"state of its own (invariant 3){why}; for {_shown(record)}"
            )
            return
    if why:
        yield f"row may come out otherwise another time (invariant 3){why}"


def impurities(projection: Projection) -> set[str]:
    """What the code that makes rows asks of clocks, chance, the machine and the network."""
    row = projection.row
    package = row.__module__.partition(".")[0]
    return _asked(row, package, set()) if isinstance(row, FunctionType) else set()


def _asked(function: FunctionType, package: str, seen: set[CodeType]) -> set[str]:
    found: set[str] = set()
    codes = [function.__code__]
    while codes:
        code = codes.pop()
        if code in seen:
            continue
        seen.add(code)
        codes += [part for part in code.co_consts if isinstance(part, CodeType)]
        names = set(code.co_names)
        for name in names & function.__globals__.keys():
            value = function.__globals__[name]
            found |= _used(name, value, names)
            if isinstance(value, FunctionType) and value.__module__.partition(".")[0] == package:
                found |= _asked(value, package, seen)
    return found


def _used(name: str, value: object, names: set[str]) -> set[str]:
    """What of a module, or of what is of one, is impure, of the names that the code has."""
    owner = getattr(value, "__self__", None)
    is_of_object = owner is not None and not isinstance(owner, ModuleType)
    holder = type(owner) if is_of_object else value
    module = value.__name__ if isinstance(value, ModuleType) else getattr(holder, "__module__", "")
    impure = IMPURE.get(str(module).partition(".")[0])
    if impure is None:
        return set()
    own = str(getattr(value, "__name__", ""))
    if isinstance(value, ModuleType | type):
        used = names & impure if impure is not EVERYTHING else names
        return {f"{name}.{one}" for one in used if hasattr(value, one)}
    return {name} if impure is EVERYTHING or own in impure else set()


def _shown(record: bytes) -> str:
    text = record.decode(errors="replace")
    return text if len(text) <= SHOWN_CHARS_MAX else text[:SHOWN_CHARS_MAX] + "…"
