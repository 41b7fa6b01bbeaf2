"""What the tables hold of accounts, and where that is not what they must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import msgspec

from projector.declare import Projection, Row, Table
from projector.statements import Home, listed
from projector.truth import Expected

ROW, WAITING, LISTED, REV = "row", "waiting", "listed", "rev"
"""Where a difference is: the table, the shelf of duplicates, the list of them, the revisions."""

MISSING, EXTRA, ALTERED = "missing", "extra", "altered"

LIST_COLUMNS: Final = ("cid", "duplicateOf", "indexedAt")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One key of which a table holds something else than the log says.

    `part` is one of `row`, `waiting`, `listed`, `rev`; `kind` is `missing`, `extra` or `altered`,
    with the altered `columns`. `log_offset` is the event by which the key is what it must be, None
    where the log knows nothing of the key.
    """

    projection: str
    did: str
    uri: str
    part: str
    kind: str
    columns: tuple[str, ...] = ()
    log_offset: int | None = None


@dataclass(slots=True)
class Found:
    """What the tables hold of one account, by at-uri; the parts as in `Expected`."""

    rows: dict[str, Row] = field(default_factory=dict)
    waiting: dict[str, Row] = field(default_factory=dict)
    listed: dict[str, Row] = field(default_factory=dict)
    revs: dict[str, str] = field(default_factory=dict)


def select_columns(table: Table, prefix: str = "") -> str:
    """The table's columns as they are compared, uri first: JSON as text."""
    return ", ".join(
        f"{listed((c,), prefix)}::text" if c in table.types else listed((c,), prefix)
        for c in table.columns
    )


def comparable(table: Table) -> Callable[[Row], Row]:
    """Brings a row, expected or found, to the form in which two are the same or not.

    Postgres writes JSON its own way; so that of both sides is read and written again.
    """
    json_at = [i for i, column in enumerate(table.columns) if "json" in table.types.get(column, "")]
    if not json_at:
        return tuple

    def changed(row: Row) -> Row:
        cells = list(row)
        for at in json_at:
            if cells[at] is not None:
                parsed = msgspec.json.decode(cells[at])
                cells[at] = msgspec.json.encode(parsed, order="deterministic").decode()
        return tuple(cells)

    return changed


async def read_accounts(
    connection: asyncpg.Connection, projection: Projection, home: Home, dids: Sequence[str]
) -> dict[str, Found]:
    """What the tables hold of these accounts; to be called inside a snapshot."""
    table = projection.table
    found = {did: Found() for did in dids}
    owner = table.columns.index("creator")
    columns = select_columns(table)
    rows = f"SELECT {columns} FROM {home.base(table)} WHERE creator = ANY($1::text[])"
    for row in await connection.fetch(rows, list(dids)):
        found[row[owner]].rows[row[0]] = tuple(row)
    if table.unique:
        rows = f"SELECT {columns} FROM {home.shelf(table)} WHERE creator = ANY($1::text[])"
        for row in await connection.fetch(rows, list(dids)):
            found[row[owner]].waiting[row[0]] = tuple(row)
    for did in dids:
        # Of the list, which several projections share, what is this one's: by its collection.
        prefix = f"at://{did}/{projection.collection}/"
        bounds = (prefix, prefix[:-1] + "0")
        if table.unique:
            sql = f"SELECT uri, {listed(LIST_COLUMNS)} FROM {home.list(table)} {IN_RANGE}"
            for uri, *cells in await connection.fetch(sql, *bounds):
                found[did].listed[uri] = tuple(cells)
        sql = f"SELECT uri, rev FROM {home.versions(projection)} {IN_RANGE}"
        found[did].revs = {str(u): str(rev) for u, rev in await connection.fetch(sql, *bounds)}
    return found


IN_RANGE: Final = "WHERE uri >= $1 AND uri < $2"


def differences(
    projection: Projection, did: str, expected: Expected, found: Found
) -> Iterator[Difference]:
    """Where the tables do not hold what they must of one account, in the order of the keys."""
    same = comparable(projection.table)
    names = projection.table.columns

    def of(part: str, uri: str, must: Row | None, has: Row | None) -> Difference | None:
        columns: tuple[str, ...] = ()
        if must is None:
            kind = EXTRA
        elif has is None:
            kind = MISSING
        else:
            kind, labels = ALTERED, LIST_COLUMNS if part == LISTED else names
            if part in (ROW, WAITING):
                must, has = same(must), same(has)
            pairs = zip(labels, must, has, strict=True)
            columns = tuple(label for label, one, other in pairs if one != other)
            if not columns:
                return None
        return Difference(
            projection=projection.name, did=did, uri=uri, part=part, kind=kind, columns=columns,
            log_offset=expected.decided.get(uri),
        )  # fmt: skip

    parts: list[tuple[str, Mapping[str, Row], Mapping[str, Row]]] = [
        (ROW, expected.rows, found.rows),
        (WAITING, expected.waiting, found.waiting),
        (LISTED, expected.listed, found.listed),
    ]
    for part, must_have, has in parts:
        for uri in sorted({*must_have, *has}):
            difference = of(part, uri, must_have.get(uri), has.get(uri))
            if difference is not None:
                yield difference
    yield from _revs(projection, did, expected, found)


def _revs(
    projection: Projection, did: str, expected: Expected, found: Found
) -> Iterator[Difference]:
    """Revisions that are not noted, or that no event explains."""
    for uri in sorted({*expected.revs, *found.revs}):
        has, must = found.revs.get(uri), expected.revs.get(uri)
        if has == must or (must is None and has == expected.revs_maybe.get(uri)):
            continue
        kind = MISSING if has is None else EXTRA if must is None else ALTERED
        yield Difference(
            projection=projection.name, did=did, uri=uri, part=REV, kind=kind,
            columns=("rev",) if kind == ALTERED else (), log_offset=expected.decided.get(uri),
        )  # fmt: skip
