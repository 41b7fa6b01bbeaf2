"""What the tables hold of accounts, and where that is not what they must hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import asyncpg
import msgspec

from projector.declare import Child, Children, Projection, Row, Table
from projector.home import Home, listed, quoted
from projector.truth import Expected

ROW, WAITING, LISTED, REV = "row", "waiting", "listed", "rev"
"""Where a difference is: the table, the shelf of duplicates, the list of them, the revisions."""

MISSING, EXTRA, ALTERED, SAME = "missing", "extra", "altered", "same"

Columns = tuple[str, ...]
LIST_COLUMNS: Final = ("cid", "duplicateOf", "indexedAt")


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One key of which a table holds something else than the log says.

    `part` is one of `row`, `waiting`, `listed`, `rev`; `kind` is `missing`, `extra` or `altered`,
    with the altered `columns`. `log_offset` is the event by which the key is what it must be, or by
    which its account was removed; None where the log knows nothing of the key. `settled` is the
    last event that had a say in it, which may be of another key with the same claim.
    """

    projection: str
    did: str
    uri: str
    part: str
    kind: str
    columns: tuple[str, ...] = ()
    log_offset: int | None = None
    settled: int | None = None


@dataclass(slots=True)
class Found:
    """What the tables hold of one account, by at-uri; the parts as in `Expected`."""

    rows: dict[str, Row] = field(default_factory=dict)
    waiting: dict[str, Row] = field(default_factory=dict)
    listed: dict[str, Row] = field(default_factory=dict)
    revs: dict[str, str] = field(default_factory=dict)


def select_cells(projection: Projection, home: Home) -> str:
    """The cells of a projection's rows as they are compared, uri first, of a table `t`: JSON as
    text, and the rows of child tables as one JSON text, an array of arrays."""
    table = projection.table
    columns = [
        f"t.{quoted(c)}::text" if c in table.types else f"t.{quoted(c)}" for c in table.columns
    ]
    return ", ".join([*columns, *(_select_child(c, home) for c in projection.children)])


def _select_child(child: Child, home: Home) -> str:
    cells = listed(child.columns, "c.")
    return (
        f"(SELECT json_agg(json_build_array({cells}))::text FROM {home.child(child)} AS c"
        f" WHERE c.{quoted(child.columns[0])} = t.uri)"
    )


def comparable(projection: Projection) -> Callable[[Row], Row]:
    """Brings a row, expected or found, to the form in which two are the same or not.

    Postgres writes JSON its own way, so that of both sides is read and written again; the rows of
    child tables come in any order.
    """
    types, columns = projection.table.types, projection.table.columns
    json_at = [i for i, column in enumerate(columns) if "json" in types.get(column, "")]
    width, cells_max = len(columns), len(projection.cells)
    if not json_at and width == cells_max:
        return tuple

    def changed(row: Row) -> Row:
        cells = list(row)
        for at in json_at:
            if cells[at] is not None:
                parsed = msgspec.json.decode(cells[at])
                cells[at] = msgspec.json.encode(parsed, order="deterministic").decode()
        for at in range(width, cells_max):
            cells[at] = children_of(cells[at])
        return tuple(cells)

    return changed


def children_of(cell: Children | Sequence[Sequence[str | None]] | str | None) -> Children | None:
    """The rows of one child table that belong to a record, in order, however they came."""
    if cell is None:
        return None
    rows = msgspec.json.decode(cell) if isinstance(cell, str) else cell
    return tuple(sorted((tuple(row) for row in rows), key=repr)) or None


async def read_accounts(
    connection: asyncpg.Connection, projection: Projection, home: Home, dids: Sequence[str]
) -> dict[str, Found]:
    """What the tables hold of these accounts; to be called inside a snapshot."""
    table = projection.table
    found = {did: Found() for did in dids}
    columns = select_cells(projection, home)
    for did, row in await _rows(connection, table, home.base(table), columns, dids):
        found[did].rows[row[0]] = row
    if projection.children:
        orphans = select_orphans(projection, home, of="a.did, ")
        for did, *cells in await connection.fetch(orphans, *_bounds(dids, "/")):
            found[did].rows[cells[0]] = tuple(cells)
    if table.unique:
        for did, row in await _rows(connection, table, home.shelf(table), columns, dids):
            found[did].waiting[row[0]] = row
    # Of the list, which several projections share, what is this one's: by its collection.
    if table.unique:
        bounds = _bounds(dids, f"/{projection.collection}/")
        columns = listed(("uri", *LIST_COLUMNS), "t.")
        rows = IN_RANGES.format(columns=columns, table=home.list(table))
        for did, uri, *cells in await connection.fetch(rows, *bounds):
            found[did].listed[uri] = tuple(cells)
    rows = IN_RANGES.format(columns="t.uri, t.rev", table=home.versions(projection))
    for did, uri, rev in await connection.fetch(rows, *_bounds(dids, "/")):
        found[did].revs[uri] = rev
    return found


def select_orphans(projection: Projection, home: Home, of: str = "") -> str:
    """Rows of child tables whose record has no row, as rows of which all columns but uri are NULL.

    `of` asks for those of accounts, by the parameters of `IN_RANGES`, which come first then.
    """
    base = home.base(projection.table)
    parts = []
    for child in projection.children:
        key = f"c.{quoted(child.columns[0])}"
        within = f", {ACCOUNTS} WHERE {key} >= a.least AND {key} < a.beyond AND" if of else " WHERE"
        parts.append(
            f"SELECT {of}{key} FROM {home.child(child)} AS c{within}"
            f" NOT EXISTS (SELECT FROM {base} AS b WHERE b.uri = {key})"
        )
    nothing = ", ".join("NULL" for _ in projection.table.columns[1:])
    children = ", ".join(_select_child(child, home) for child in projection.children)
    did = "t.did, " if of else ""
    names = "did, uri" if of else "uri"
    return f"SELECT {did}t.uri, {nothing}, {children} FROM ({' UNION '.join(parts)}) AS t({names})"


async def _rows(
    connection: asyncpg.Connection, table: Table, relation: str, columns: str, dids: Sequence[str]
) -> list[tuple[str, Row]]:
    """The rows of these accounts, each with the account."""
    if table.account is None:
        rows = IN_RANGES.format(columns=columns, table=relation)
        found = await connection.fetch(rows, *_bounds(dids, "/"))
        return [(did, tuple(cells)) for did, *cells in found]
    owner = table.columns.index(table.account)
    rows = f"SELECT {columns} FROM {relation} AS t WHERE {quoted(table.account)} = ANY($1::text[])"
    return [(row[owner], tuple(row)) for row in await connection.fetch(rows, list(dids))]


def _bounds(dids: Sequence[str], path: str) -> tuple[list[str], list[str], list[str]]:
    """The accounts, and the ranges of their at-uris with that path, which ends with a slash."""
    prefixes = [f"at://{did}{path}" for did in dids]
    return list(dids), prefixes, [prefix[:-1] + "0" for prefix in prefixes]


ACCOUNTS: Final = "unnest($1::text[], $2::text[], $3::text[]) AS a(did, least, beyond)"
# $1 accounts, $2 and $3 the range of their uris: one look into the index for each.
IN_RANGES: Final = f"""
SELECT a.did, {{columns}} FROM {ACCOUNTS}
CROSS JOIN LATERAL (SELECT * FROM {{table}} AS r WHERE r.uri >= a.least AND r.uri < a.beyond) AS t
"""


def differences(
    projection: Projection, did: str, expected: Expected, found: Found
) -> Iterator[Difference]:
    """Where the tables do not hold what they must of one account, in the order of the keys."""
    parts: list[tuple[str, Mapping[str, Row], Mapping[str, Row]]] = [
        (ROW, expected.rows, found.rows),
        (WAITING, expected.waiting, found.waiting),
        (LISTED, expected.listed, found.listed),
    ]
    for part, must, has in parts:
        if must == has:
            continue
        for uri in sorted({*must, *has}):
            if (one := must.get(uri)) != (other := has.get(uri)):
                kind, columns = _kind(projection, part, one, other)
                if kind != SAME:
                    yield _difference(projection, did, uri, expected, (part, kind, columns))
    for uri, kind in _revs(expected, found):
        columns = (REV,) if kind == ALTERED else ()
        yield _difference(projection, did, uri, expected, (REV, kind, columns))


def _difference(
    projection: Projection, did: str, uri: str, expected: Expected, what: tuple[str, str, Columns]
) -> Difference:
    part, kind, columns = what
    return Difference(
        projection=projection.name,
        did=did,
        uri=uri,
        part=part,
        kind=kind,
        columns=columns,
        log_offset=expected.decided.get(uri, expected.removed),
        settled=expected.settled.get(uri, expected.removed),
    )


def _kind(
    projection: Projection, part: str, must: Row | None, has: Row | None
) -> tuple[str, Columns]:
    """What is different about a key, and in which columns."""
    if must is None or has is None:
        return (EXTRA if must is None else MISSING), ()
    names: Columns = LIST_COLUMNS
    if part != LISTED:
        names, same = projection.cells, comparable(projection)
        must, has = same(must), same(has)
    pairs = zip(names, must, has, strict=True)
    columns = tuple(name for name, one, other in pairs if one != other)
    return (ALTERED if columns else SAME), columns


def _revs(expected: Expected, found: Found) -> Iterator[tuple[str, str]]:
    """Revisions that are not noted, or that no event explains."""
    if expected.revs == found.revs:
        return
    for uri in sorted({*expected.revs, *found.revs}):
        has, must = found.revs.get(uri), expected.revs.get(uri)
        if has == must or (must is None and has == expected.revs_maybe.get(uri)):
            continue
        yield uri, MISSING if has is None else EXTRA if must is None else ALTERED
