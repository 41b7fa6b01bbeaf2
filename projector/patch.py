"""A patch: what to do so that the tables hold the truth about accounts, and the doing of it."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import asyncpg
import msgspec

from projector.apply import TableWriter
from projector.copying import copy_children
from projector.database import is_data_error, one_line
from projector.declare import Count, Projection, Row
from projector.differences import (
    ALTERED,
    EXTRA,
    LIST_COLUMNS,
    LISTED,
    REV,
    ROW,
    WAITING,
    Difference,
    Found,
    children_of,
    differences,
    read_accounts,
    select_cells,
)
from projector.fold import Letter
from projector.home import Home, listed
from projector.moves import Moves
from projector.statements import insert
from projector.truth import AccountTruth, Expected

ROWS_MAX: Final = 10_000
"""The most rows in one statement."""

Values = dict[str, Any]
"""What a key has, or must have: by column."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One key that is put right; fields as in `Difference`.

    `has` and `must` are what was there and what is put there: of an altered key the altered
    columns, else all.
    """

    projection: str
    did: str
    uri: str
    part: str
    kind: str
    columns: tuple[str, ...]
    log_offset: int | None
    has: Values | None
    must: Values | None


class Refused(Exception):
    """Postgres refuses rows that accounts must have: their events are dead letters.

    `letters` has the account and the letter by the event's offset.
    """

    def __init__(self, projection: str, letters: Mapping[int, tuple[str, Letter]]) -> None:
        super().__init__(f"{len(letters)} rows of {projection}")
        self.projection = projection
        self.letters = letters


@dataclass(slots=True)
class Plan:
    """What is to be taken out of the tables of one projection and put into them, by at-uri.

    `beside` has, of rows that are taken out, the columns `Projection.beside`: a row that takes the
    place of another keeps them. A row that was lost has none: nobody knows what came before it.
    """

    projection: Projection
    beside: dict[str, Row] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    removed: dict[str, dict[str, Row]] = field(default_factory=dict)
    added: dict[str, dict[str, Row]] = field(default_factory=dict)

    def out(self, part: str) -> dict[str, Row]:
        """What is taken out of a part; parts as in `Difference`."""
        return self.removed.setdefault(part, {})

    def into(self, part: str) -> dict[str, Row]:
        """What is put into a part."""
        return self.added.setdefault(part, {})

    def moves(self, count: Count) -> Tally[str]:
        """How the number of rows that are counted for each key changes."""
        keys_of = count.keys_of()
        tally: Tally[str] = Tally()
        for sign, rows in ((-1, self.out(ROW)), (1, self.into(ROW))):
            for uri, row in rows.items():
                for key in keys_of(row) if self._counts(uri, count) else ():
                    tally[key] += sign
        return tally

    def _counts(self, uri: str, count: Count) -> bool:
        if count.unless is None or uri not in self.beside:
            return True
        return not self.beside[uri][list(self.projection.beside).index(count.unless)]

    def _whole(self, part: str, row: Row) -> Row:
        width = len(self.projection.table.columns)
        if part != ROW:
            return row
        return (*row[:width], *map(children_of, row[width:]))

    def add(self, difference: Difference, must: Row | None, has: Row | None) -> None:
        """Adds what mends a difference."""
        d = difference
        if has is not None:
            self.out(d.part)[d.uri] = self._whole(d.part, has)
        if must is not None:
            self.into(d.part)[d.uri] = must
        names = {LISTED: LIST_COLUMNS, REV: ("rev",)}.get(d.part, self.projection.cells)
        shown = d.columns if d.kind == ALTERED else names
        self.changes.append(
            Change(
                projection=d.projection,
                did=d.did,
                uri=d.uri,
                part=d.part,
                kind=d.kind,
                columns=d.columns,
                log_offset=d.log_offset,
                has=_shown(names, has, shown),
                must=_shown(names, must, shown),
            )
        )


def _shown(names: Sequence[str], row: Row | None, shown: Sequence[str]) -> Values | None:
    if row is None:
        return None
    return {name: cell for name, cell in zip(names, row, strict=True) if name in shown}


async def plan(
    connection: asyncpg.Connection,
    projection: Projection,
    home: Home,
    truths: Mapping[str, AccountTruth],
) -> Plan:
    """What to do so that the tables hold the truth of these accounts; to be called with the
    checkpoint held, or in a snapshot, at the offset up to which the truths are."""
    found = await read_accounts(connection, projection, home, list(truths))
    expected = {did: truth.expected() for did, truth in truths.items()}
    _rehome(found)
    await _find_misplaced(connection, projection, home, expected, found)
    made = Plan(projection)
    for did, must in expected.items():
        has = found[did]
        parts = {
            ROW: (must.rows, has.rows),
            WAITING: (must.waiting, has.waiting),
            LISTED: (must.listed, has.listed),
            REV: (_as_rows(must.revs), _as_rows(has.revs)),
        }
        for difference in differences(projection, did, must, has):
            wanted, there = parts[difference.part]
            made.add(difference, wanted.get(difference.uri), there.get(difference.uri))
    if projection.beside:
        columns = listed(("uri", *projection.beside))
        sql = f"SELECT {columns} FROM {home.base(projection.table)} WHERE uri = ANY($1::text[])"
        for uris in batched(made.out(ROW), ROWS_MAX):
            made.beside.update(
                (uri, tuple(cells)) for uri, *cells in await connection.fetch(sql, uris)
            )
    return made


def _as_rows(revs: Mapping[str, str]) -> dict[str, Row]:
    return {uri: (rev,) for uri, rev in revs.items()}


def _rehome(found: Mapping[str, Found]) -> None:
    """Rows that say to be another account's than their key does count as that of the key."""
    for did, has in found.items():
        for part in ("rows", "waiting"):
            rows: dict[str, Row] = getattr(has, part)
            for uri in [uri for uri in rows if not uri.startswith(f"at://{did}/")]:
                owner = found.get(owner_of(uri) or "")
                if owner is not None:
                    getattr(owner, part)[uri] = rows.pop(uri)


async def _find_misplaced(
    connection: asyncpg.Connection,
    projection: Projection,
    home: Home,
    expected: Mapping[str, Expected],
    found: Mapping[str, Found],
) -> None:
    """Finds, by their keys, rows that are missing because their creator was altered."""
    table = projection.table
    relations = [("rows", home.base(table))]
    if table.unique:
        relations.append(("waiting", home.shelf(table)))
    for part, relation in relations:
        missing = [
            uri
            for did, must in expected.items()
            for uri in getattr(must, part)
            if uri not in getattr(found[did], part)
        ]
        columns = select_cells(projection, home)
        sql = f"SELECT {columns} FROM {relation} AS t WHERE t.uri = ANY($1::text[])"
        for uris in batched(missing, ROWS_MAX):
            for row in await connection.fetch(sql, uris):
                getattr(found[str(owner_of(row[0]))], part)[row[0]] = tuple(row)


def owner_of(uri: str) -> str | None:
    """The account that an at-uri is of; None where it is none."""
    parts = uri.split("/", 3)
    return parts[2] if parts[:2] == ["at:", ""] and len(parts) > 2 else None


def strangers(made: Plan, dids: Iterable[str]) -> set[str]:
    """Other accounts whose keys the plan takes out: a row there names the wrong account."""
    owners = {owner_of(c.uri) for c in made.changes if c.kind == EXTRA}
    return {did for did in owners if did} - set(dids)


def batched(rows: Iterable[Any], size: int) -> Iterable[list[Any]]:
    """The rows in lists of at most that size."""
    rest = iter(rows)
    while part := list(islice(rest, size)):
        yield part


class PatchWriter:
    """Carries out plans of one projection, within the transaction that the caller has open."""

    def __init__(self, writer: TableWriter) -> None:
        self.writer = writer
        table, home = writer.table, writer.home
        self.remove = {
            WAITING: f"DELETE FROM {home.shelf(table)} WHERE uri = ANY($1::text[])",
            LISTED: f"DELETE FROM {home.list(table)} WHERE uri = ANY($1::text[])",
            REV: f"DELETE FROM {home.versions(writer.projection)} WHERE uri = ANY($1::text[])",
        }
        self.insert = {
            WAITING: insert(table, home.shelf(table), {}),
            ROW: (
                insert(table, home.base(table), writer.projection.beside)
                + f" RETURNING {', '.join(writer.sql.counted) or 'uri'}"
            ),
            LISTED: (
                f"INSERT INTO {home.list(table)} ({listed(('uri', *LIST_COLUMNS))})"
                " SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[])"
            ),
        }

    async def write(self, connection: asyncpg.Connection, made: Plan) -> list[Tally[str]]:
        """Carries the plan out; returns, for each counter that the rows feed, how its keys moved
        by rows really deleted and inserted (invariant 6).

        What is put in may have a key or claim of what is taken out, so that goes first. Raises
        `Refused`, and then all must be rolled back.
        """
        moves = Moves(self.writer.sql, self.writer.projection)
        for uris in batched(made.out(ROW), ROWS_MAX):
            moves.returned(await connection.fetch(self.writer.sql.delete, uris), -1)
            # What was judged of a record stays where another row takes the place of its row.
            gone = [uri for uri in uris if uri not in made.into(ROW)]
            for child in self.writer.sql.children:
                of = gone if child.judged else uris
                moves.returned(await connection.fetch(child.delete, of), -1, child.name)
        for part, sql in self.remove.items():
            for uris in batched(made.out(part), ROWS_MAX):
                await connection.execute(sql, uris)
        put = await self._put(connection, made, ROW)
        moves.returned(put, 1)
        moves.sent_children(list(made.into(ROW).values()))
        await self._put(connection, made, WAITING)
        for rows in batched(made.into(LISTED).items(), ROWS_MAX):
            columns = zip(*[(uri, *cells) for uri, cells in rows], strict=True)
            await connection.execute(self.insert[LISTED], *map(list, columns))
        for rows in batched(made.into(REV).items(), ROWS_MAX):
            uris, revs = [uri for uri, _ in rows], [rev for _, (rev,) in rows]
            await connection.execute(self.writer.sql.put_versions, uris, revs)
        return moves.tally

    async def _put(
        self, connection: asyncpg.Connection, made: Plan, part: str
    ) -> list[asyncpg.Record]:
        """Inserts the rows of a part; returns what the statement returns."""
        sql, beside = self.insert[part], self.writer.projection.beside if part == ROW else {}
        nothing: Row = (None,) * len(beside)
        done: list[asyncpg.Record] = []
        letters: dict[int, tuple[str, Letter]] = {}
        changes = {c.uri: c for c in made.changes if c.part == part}

        async def put(rows: list[Row]) -> None:
            try:
                async with connection.transaction():
                    cells = [made.beside.get(row[0], nothing) for row in rows]
                    columns = [*self.writer.columns_of(rows), *map(list, zip(*cells, strict=True))]
                    done.extend(await connection.fetch(sql, *columns))
                    if part == ROW:
                        await copy_children(connection, made.projection, self.writer.home, rows)
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                change = changes[rows[0][0]]
                offset = change.log_offset
                if not is_data_error(error) or (len(rows) == 1 and offset is None):
                    raise
                if len(rows) == 1 and offset is not None:
                    letter = Letter(offset, "apply", "refused", one_line(error)[:1000])
                    letters[offset] = (change.did, letter)
                    return
                middle = len(rows) // 2
                await put(rows[:middle])
                await put(rows[middle:])

        for rows in batched(made.into(part).values(), ROWS_MAX):
            await put(rows)
        if letters:
            raise Refused(made.projection.name, letters)
        return done
