"""The statements that apply a window, made once per projection from its declaration.

Only identifiers from declarations are put into them; values are always parameters. Every
statement finds its rows by an index on the keys it is given (invariant 9).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from projector.children import (
    ChildStatements,
    child_statements,
    keep_statement,
    kept_statement,
    removing,
)
from projector.declare import Declaration, Fed, Projection, Table
from projector.home import Counter, Home, listed, quoted

MOVE_CHECKPOINT: Final = """
UPDATE projector.checkpoint
SET log_offset = $4, events = events + $5, events_per_second = $6, updated_at = now()
WHERE projection = $1 AND version = $2 AND log_offset = $3
RETURNING edits
"""
EDITS: Final = "SELECT edits FROM projector.checkpoint WHERE projection = $1"
FEEDS: Final = """
SELECT aggregate, counter, by_column, child, unless_column FROM projector.feed WHERE projection = $1
ORDER BY 1, 2
"""
CHECKPOINT: Final = "SELECT log_offset, version FROM projector.checkpoint WHERE projection = $1"
PUT_OUTBOX: Final = """
INSERT INTO projector.outbox (aggregate, counter, keys, deltas, projection, through_offset)
VALUES ($1, $2, (string_to_array($3, $7))[2:], string_to_array($4, ',')::integer[], $5, $6)
"""
PUT_LETTER: Final = """
INSERT INTO projector.dead_letter (projection, log_offset, stage, reason, error)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (projection, log_offset) WHERE projection IS NOT NULL
DO UPDATE SET attempts = dead_letter.attempts + 1, stage = excluded.stage,
    reason = excluded.reason, error = excluded.error
"""
NOTIFY_OUTBOX: Final = "SELECT pg_notify('projector_outbox', $1)"


def live(declaration: Declaration, schema: str) -> Home:
    """The home of what is kept in step with the log, and read by others."""
    return Home(declaration.name, schema)


@dataclass(frozen=True, slots=True)
class Statements:
    """The statements of one projection; see `statements_of` for what each does.

    `counted` are the cells, as SQL, of the rows that statements return.
    """

    counters: tuple[Counter, ...]
    counted: tuple[str, ...]
    children: tuple[ChildStatements, ...]
    remove_accounts: str | None
    remove_account: str | None
    remove_account_duplicates: str | None
    forget_account: str
    versions: str
    put_versions: str
    delete: str
    delete_duplicates: str | None
    bury: str | None
    known: str
    kept: str | None
    keep: str | None
    taken: str
    held: str
    shelve: str
    demote: str | None
    promote: str | None
    relist_groups: str | None
    relist_uris: str | None
    holders: str | None


def split(value: int, separator: int) -> str:
    """The array of texts that came as one text, each after the separator; both by parameter."""
    # The first part is the nothing before the first separator: without it, an empty text that
    # comes alone would be no text at all.
    return f"(string_to_array(${value}, ${separator}))[2:]"


def split_cells(value: int, separator: int, none: int) -> str:
    """The same, where one of the texts stands for NULL."""
    return f"(string_to_array(${value}, ${separator}, ${none}))[2:]"


def counters_of(projection: Projection, declarations: Sequence[Declaration]) -> tuple[Counter, ...]:
    """The counters, of all aggregates and derived tables, that this projection's rows move."""
    return tuple(
        Counter(aggregate.name, name, count.by, count.child, count.unless)
        for aggregate in declarations
        if isinstance(aggregate, Fed)
        for name, count in aggregate.counters.items()
        if count.of.name == projection.name
    )


def insert(table: Table, into: str, beside: Mapping[str, str]) -> str:
    """Inserts whole rows, an array for each column, those `beside`, with their types, last."""
    kinds = [*(table.types.get(c, "text") for c in table.columns), *beside.values()]
    arrays = ", ".join(f"${i}::{kind}[]" for i, kind in enumerate(kinds, 1))
    columns = listed((*table.columns, *beside))
    return f"INSERT INTO {into} ({columns}) SELECT * FROM unnest({arrays})"


def hidden_ddl(projection: Projection, home: Home) -> list[str]:
    """The DDL of the child tables that are the engine's own."""
    found = []
    for child in projection.every_child:
        if child.hidden:
            columns = ", ".join(f'{quoted(c)} text COLLATE "C"' for c in child.columns)
            table, index = home.child(child), quoted(f"{child.name}_idx")
            found += [
                f"CREATE TABLE IF NOT EXISTS {table} ({columns})",
                f"CREATE INDEX IF NOT EXISTS {index} ON {table} ({quoted(child.columns[0])})",
            ]
    return found


def versions_ddl(projection: Projection, home: Home) -> list[str]:
    """The DDL of the table of revisions."""
    return [
        f"CREATE TABLE IF NOT EXISTS {home.versions(projection)}"
        ' (uri text COLLATE "C" PRIMARY KEY, rev text COLLATE "C" NOT NULL)'
    ]


def duplicates_ddl(table: Table, home: Home) -> list[str]:
    """The DDL of the shelf of losing rows: the table's columns, found by key, claim, account."""
    if table.unique is None:
        return []
    name, shelf = "duplicate_" + table.name, home.shelf(table)
    # The collation is stated, as it is where the first is asked for: tables may be of another.
    claim = listed(table.unique) + ', "indexedAt" COLLATE "C", uri COLLATE "C"'
    return [
        f"CREATE TABLE IF NOT EXISTS {shelf} (LIKE {home.base(table)} INCLUDING GENERATED,"
        f" CONSTRAINT {quoted(name + '_pkey')} PRIMARY KEY (uri))",
        f"CREATE INDEX IF NOT EXISTS {quoted(name + '_claim_idx')} ON {shelf} ({claim})",
        f"CREATE INDEX IF NOT EXISTS {quoted(name + '_creator_idx')} ON {shelf} (creator)",
    ]


def statements_of(
    projection: Projection, home: Home, counters: Sequence[Counter], told: Sequence[str] = ()
) -> Statements:
    """Makes the statements of a projection in its home, given the counters that its rows move;
    `told` are further columns that are returned of rows that are deleted."""
    counters = tuple(counters)
    by = tuple(counter.cell for counter in counters if counter.child is None)
    further = map(quoted, (*(projection.table.unique or ()), *told))
    counted = tuple(dict.fromkeys((*by, *further)))
    make = _Maker(projection, home, counters, counted)
    claims = projection.table.unique is not None
    keeps = bool(projection.kept)
    return Statements(
        counters=counters,
        counted=counted,
        children=child_statements(projection, home, counters),
        remove_accounts=make.remove_accounts() if projection.table.account else None,
        remove_account=make.remove_account() if not projection.table.account else None,
        remove_account_duplicates=make.remove_duplicates("creator") if claims else None,
        forget_account=make.forget_account(),
        versions=make.known_versions(),
        put_versions=make.put_versions(),
        delete=make.delete(),
        delete_duplicates=make.remove_duplicates("uri") if claims else None,
        bury=make.bury(projection.table.tombstone) if projection.table.tombstone else None,
        known=make.known(),
        kept=kept_statement(projection, home) if keeps else None,
        keep=keep_statement(projection, home) if keeps else None,
        taken=make.taken(),
        held=make.held(),
        shelve=make.shelve(),
        demote=make.demote() if claims else None,
        promote=make.promote() if claims else None,
        relist_groups=make.relist(by_group=True) if claims else None,
        relist_uris=make.relist(by_group=False) if claims else None,
        holders=make.holders() if claims else None,
    )


class _Maker:
    def __init__(
        self,
        projection: Projection,
        home: Home,
        counters: tuple[Counter, ...],
        counted: tuple[str, ...],
    ) -> None:
        table = projection.table
        self.name = home.name
        self.table = table
        self.base = home.base(table)
        self.shelf = home.shelf(table)
        self.versions = home.versions(projection)
        self.list = home.list(table)
        self._own = [counter for counter in counters if counter.child is None]
        self.columns = listed(table.columns)
        self.returning = ", ".join(counted) or "uri"
        verdicts = projection.judged.columns if projection.judged else ()
        self.verdicts = dict.fromkeys(verdicts, "boolean")
        self.values = listed(table.columns, "r.")
        kinds = [table.types.get(column, "text") for column in table.columns]
        arrays = ", ".join(f"${i}::{kind}[]" for i, kind in enumerate(kinds, 1))
        self.rows = f"unnest({arrays}) AS r({self.columns})"
        unique = table.unique or ()
        self.claims = ", ".join(f"${i}::text[]" for i in range(1, len(unique) + 1))
        self.groups = f"(SELECT DISTINCT * FROM unnest({self.claims}) AS g({listed(unique)})) AS g"
        self.same_group = " AND ".join(f"{{0}}.{quoted(c)} = {{1}}.{quoted(c)}" for c in unique)

    def remove_accounts(self) -> str:
        """Deletes all rows of accounts ($1); as `removing`, with $2 the window's last offset."""
        which = f"{quoted(self.table.account or '')} = ANY($1::text[])"
        return removing(self.name, self.base, which, "$2", self._own)

    def remove_account(self) -> str:
        """The same for one account, whose rows are found by the range of their uris: $1 and $2, as
        for `forget_account`. $3 is the window's last offset."""
        return removing(self.name, self.base, "uri >= $1 AND uri < $2", "$3", self._own)

    def remove_duplicates(self, column: str) -> str:
        """Takes losers off the shelf and the list, by account or uri ($1)."""
        return (
            f"WITH off AS (DELETE FROM {self.shelf} WHERE {column} = ANY($1::text[]) RETURNING uri)"
            f" DELETE FROM {self.list} AS d USING off WHERE d.uri = off.uri"
        )

    def delete(self) -> str:
        """Deletes rows by uri ($1); returns the columns that counters and claims need."""
        return f"DELETE FROM {self.base} WHERE uri = ANY($1::text[]) RETURNING {self.returning}"

    def bury(self, tombstone: str) -> str:
        """Notes in rows ($1) when their records were deleted ($2); the first time stays."""
        column = quoted(tombstone)
        return (
            f"UPDATE {self.base} AS t SET {column} = g.time"
            " FROM unnest($1::text[], $2::text[]) AS g(uri, time)"
            f" WHERE t.uri = g.uri AND t.{column} IS NULL"
        )

    def known(self) -> str:
        """Those of the uris ($1) of which a table has a row, or a revision is noted."""
        given = "WITH given AS MATERIALIZED (SELECT $1::text[] AS uris) "
        return given + " UNION ".join(self._of_given())

    def _of_given(self) -> list[str]:
        """Of the uris of `given` those that each table has, and of which a revision is noted."""
        relations = [self.base, self.versions, *([self.shelf] if self.table.unique else [])]
        # A subquery, so that the planner does not split a text itself, once for each relation, nor
        # counts many uris and reads another index from end to end.
        uris = "ANY((SELECT uris FROM given)::text[])"
        return [f"SELECT uri::text FROM {relation} WHERE uri = {uris}" for relation in relations]

    def taken(self) -> str:
        """Of new rows those uris whose uri or claim is not free, or of whose record a revision is
        known; $1 is the separator, then come the uris ($2) and the claims, one text a column."""
        unique = self.table.unique
        parts = self._of_given()
        if unique:
            arrays = ", ".join(split(i, 1) for i in range(2, len(unique) + 3))
            parts.append(
                f"SELECT r.uri FROM unnest({arrays}) AS r(uri, {listed(unique)})"
                f" {self._holder('r')}"
            )
        given = f"WITH given AS MATERIALIZED (SELECT {split(2, 1)} AS uris) "
        return given + " UNION ALL ".join(parts)

    def held(self) -> str:
        """The uris of those rows that a table holds already, the same but for their time."""
        columns = tuple(c for c in self.table.columns if c != self.table.time)
        values = listed(columns, "r.")
        return " UNION ALL ".join(
            f"SELECT r.uri::text FROM {self.rows} JOIN {relation} AS t ON t.uri = r.uri"
            f" WHERE ROW({listed(columns, 't.')}) IS NOT DISTINCT FROM ROW({values})"
            for relation in ([self.base, self.shelf] if self.table.unique else [self.base])
        )

    def known_versions(self) -> str:
        """The revisions known of records, by uri ($1)."""
        return f"SELECT uri, rev FROM {self.versions} WHERE uri = ANY($1::text[])"

    def put_versions(self) -> str:
        """Notes the revisions ($2) of records ($1)."""
        return (
            f"INSERT INTO {self.versions} (uri, rev) SELECT * FROM unnest($1::text[], $2::text[])"
            " ON CONFLICT (uri) DO UPDATE SET rev = excluded.rev"
        )

    def forget_account(self) -> str:
        """Forgets the revisions of one account's records; $1 is its uris' beginning, with the
        slash at its end, and $2 the same with the character after the slash."""
        return f"DELETE FROM {self.versions} WHERE uri >= $1 AND uri < $2"

    def shelve(self) -> str:
        """Puts rows on the shelf, from where they compete for their claim; without claims, into
        the table at once, with the verdicts on them, an array for each column after the others."""
        if self.table.unique:
            return (
                f"INSERT INTO {self.shelf} ({self.columns}) SELECT {self.values} FROM {self.rows}"
            )
        return insert(self.table, self.base, self.verdicts)

    def holders(self) -> str:
        """Of claims, an array for each column, those that have a holder, and its uri."""
        unique = self.table.unique or ()
        return (
            f"SELECT {listed(unique, 'r.')}, t.uri FROM unnest({self.claims})"
            f" AS r({listed(unique)}) {self._holder('r')}"
        )

    def _holder(self, of: str) -> str:
        """Joins, as `t`, the row that holds the claim that `of` has; for `of` whose claim is free,
        nothing.

        A claim is asked for as a range of one, in the claim's order: only the index on the whole
        claim gives that, whatever is believed of how many rows a subject or an account has.
        """
        *others, last = map(quoted, self.table.unique or ())
        one_of = "".join(f"h.{c} = ANY(ARRAY[{of}.{c}]) AND " for c in others[:1])
        equal = "".join(f"h.{c} = {of}.{c} AND " for c in others[1:])
        order = ", ".join(f"h.{c}" for c in (*others[:1], last))
        return (
            f'CROSS JOIN LATERAL (SELECT h.uri, h."indexedAt" FROM {self.base} AS h'
            f" WHERE {one_of}{equal}h.{last} BETWEEN {of}.{last} AND {of}.{last}"
            f" ORDER BY {order}) AS t"
        )

    def _first(self, condition: str = "") -> str:
        # The collation is stated: the order must be the same in every database.
        keys = listed((*(self.table.unique or ()), "indexedAt", "uri"), "l.")
        return (
            f"best AS (SELECT b.* FROM {self.groups} CROSS JOIN LATERAL (SELECT {keys}"
            f" FROM {self.shelf} AS l WHERE {self.same_group.format('l', 'g')}"
            ' ORDER BY l."indexedAt" COLLATE "C", l.uri COLLATE "C" LIMIT 1) AS b'
            f"{condition})"
        )

    def demote(self) -> str:
        """Moves holders of claims to the shelf where an earlier row waits there."""
        return (
            f"WITH {self._first()}, beaten AS (DELETE FROM {self.base} WHERE uri = ANY(ARRAY("
            f"SELECT t.uri FROM best AS b {self._holder('b')}"
            ' WHERE (b."indexedAt" COLLATE "C", b.uri COLLATE "C")'
            ' < (t."indexedAt" COLLATE "C", t.uri COLLATE "C")))'
            f" RETURNING {self.columns})"
            f" INSERT INTO {self.shelf} ({self.columns}) SELECT {self.columns} FROM beaten"
            f" RETURNING {self.returning}"
        )

    def promote(self) -> str:
        """Moves the first row waiting for each free claim from the shelf into the table."""
        free = f" WHERE NOT EXISTS (SELECT FROM (SELECT) AS one {self._holder('g')})"
        return (
            f"WITH {self._first(free)}, off AS (DELETE FROM {self.shelf}"
            f" WHERE uri = ANY(ARRAY(SELECT uri FROM best)) RETURNING {self.columns}),"
            f" unlisted AS (DELETE FROM {self.list} WHERE uri = ANY(ARRAY(SELECT uri FROM off)))"
            f" INSERT INTO {self.base} ({self.columns}) SELECT {self.columns} FROM off"
            f" RETURNING {self.returning}"
        )

    def relist(self, *, by_group: bool) -> str:
        """Lists losers with the uri of who holds their claim: of whole groups, or by uri ($1)."""
        columns = listed(("uri", "cid", "indexedAt", *(self.table.unique or ())))
        source = (
            f"SELECT l.* FROM {self.groups} CROSS JOIN LATERAL (SELECT {columns}"
            f" FROM {self.shelf} AS l WHERE {self.same_group.format('l', 'g')}"
            ' ORDER BY "indexedAt" COLLATE "C", uri COLLATE "C") AS l'
            if by_group
            else f"SELECT {columns} FROM {self.shelf} WHERE uri = ANY($1::text[])"
        )
        return (
            f"WITH l AS MATERIALIZED ({source})"
            f' INSERT INTO {self.list} AS d (uri, cid, "duplicateOf", "indexedAt")'
            f' SELECT l.uri, l.cid, t.uri, l."indexedAt" FROM l {self._holder("l")}'
            " ON CONFLICT (uri) DO UPDATE SET cid = excluded.cid,"
            ' "duplicateOf" = excluded."duplicateOf", "indexedAt" = excluded."indexedAt"'
            ' WHERE (d.cid, d."duplicateOf", d."indexedAt")'
            ' IS DISTINCT FROM (excluded.cid, excluded."duplicateOf", excluded."indexedAt")'
        )
