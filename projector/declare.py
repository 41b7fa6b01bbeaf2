"""How a projection is declared. Everything general is in the engine; a declaration is data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from events.event import Event
from projector.effects import EventByEvent
from projector.judging import Judged


class InvalidRecord(ValueError):
    """The record does not satisfy its lexicon. The message names the field and the rule."""


Row = tuple[Any, ...]
"""A row: the written columns of the table, then a cell for each child table, `Children` or None."""

Children = tuple[Row, ...]
"""The rows of one child table that belong to one record."""

ERROR_CHARS_MAX = 500

_escapes = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair
    rb"|(?P<lone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\."
).sub


def without_lone_surrogates(json: bytes) -> bytes:
    """The JSON with each escaped surrogate that has no partner replaced by an escaped U+FFFD."""
    return _escapes(lambda found: rb"\ufffd" if found["lone"] else found[0], json)


def _invalid(error: Exception) -> InvalidRecord:
    # A message may quote the record at any length, with characters that Postgres cannot store.
    text = str(error)[:ERROR_CHARS_MAX].replace("\0", "\ufffd")
    return InvalidRecord(text.encode(errors="replace").decode())


@dataclass(frozen=True, slots=True)
class Table:
    """A table of records: a row per record key, owned by the account that wrote it.

    `columns` are the written columns in the order of the rows; generated columns are left out.
    Columns are text but for those named in `types` (`{"langs": "jsonb"}`, whose values are JSON
    text or None). The first is `uri`, which an index begins with; `time` names the column that
    comes from the event and not from the record, where there is one. `account` names that of the
    account that wrote the record, where an index begins with it; where it is None, an account's
    rows are found by their uris.

    `unique` names the columns of which one account may hold each combination once (a follow's
    subject). It contains `creator`, or what only one account can say, such as a uri of its own
    repo. Of several live records with the same combination the one with the smallest (`indexedAt`,
    `uri`) has the row; the others are listed in `duplicates`, a table that the projection's `ddl`
    must make as well (`projections/duplicate_record.sql`).

    `kept` are columns that others than the engine write: an update of the record leaves them as
    they are, its delete takes them away.

    `tombstone` names a column for the time of a record's deletion, None while it lives: the row of
    a deleted record then stays, until the record comes again or its account goes.
    """

    name: str
    columns: tuple[str, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    unique: tuple[str, ...] | None = None
    duplicates: str = "duplicate_record"
    account: str | None = "creator"
    time: str | None = "indexedAt"
    kept: tuple[str, ...] = ()
    tombstone: str | None = None

    @property
    def time_at(self) -> int:
        """Which column is the event's time; one beyond the last where none is."""
        return self.columns.index(self.time) if self.time else len(self.columns)


@dataclass(frozen=True, slots=True)
class Child:
    """A further table of a projection: rows that come and go with the row of a record.

    `columns` are all text; the first has the record's at-uri, and an index begins with it. Rows of
    a record differ from each other. A `hidden` one is for the engine alone, which makes it, among
    its own tables.
    """

    name: str
    columns: tuple[str, ...]
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """How the records of a collection are read: their msgspec type, and the row they make."""

    record: Any
    row: Callable[[Event, Any], Row | None]

    def decoder(self) -> Callable[[Event], Row | None]:
        """The function from a create or update to its row; see `Projection.decoder`."""
        return _decoder(self)


@dataclass(frozen=True, slots=True)
class Projection:
    """A table kept in step with one collection of the log, or with several.

    `record` is the msgspec type that the record's JSON is decoded into; `row` makes the row from
    the event and the decoded record, or None where such a record has none, and raises
    `InvalidRecord` where the lexicon asks for more than the type says. `also` are further
    collections whose records have rows in the table. `children` are tables whose rows come and go
    with those of the table, which then may claim nothing (`Table.unique`); the cells of a row are
    its columns, then for each child table the rows of the record there, None for none. `judged` are
    columns whose values hang on other records; it asks for the same as child tables do.
    `judged_children` are child tables whose rows come of that judging and not of the record alone.

    `ddl` is SQL, statements ended by `;` at a line's end, with `{schema}` for the schema. Raise
    `version` whenever any of this changes: the projection is then rebuilt.
    """

    name: str
    version: int
    collection: str
    record: Any
    row: Callable[[Event, Any], Row | None]
    table: Table
    ddl: str
    also: Mapping[str, Reading] = field(default_factory=dict)
    children: tuple[Child, ...] = ()
    judged: Judged | None = None
    judged_children: tuple[Child, ...] = ()

    @property
    def every_child(self) -> tuple[Child, ...]:
        """All child tables, those last whose rows are judged."""
        return (*self.children, *self.judged_children)

    @property
    def decided(self) -> tuple[str, ...]:
        """The columns whose values hang on other records: verdicts, then marks."""
        return self.judged.decided if self.judged else ()

    @property
    def kept(self) -> dict[str, str]:
        """The columns, and their types, that an update of the record leaves as they are."""
        marks = self.judged.marks if self.judged else ()
        found = {column: self.table.types.get(column, "text") for column in self.table.kept}
        return found | {mark.column: "boolean" for mark in marks}

    @property
    def beside(self) -> dict[str, str]:
        """The columns, and their types, that are not made of the record alone."""
        verdicts = self.judged.columns if self.judged else ()
        return dict.fromkeys(verdicts, "boolean") | self.kept

    @property
    def collections(self) -> tuple[str, ...]:
        """All collections that are read."""
        return (self.collection, *self.also)

    @property
    def cells(self) -> tuple[str, ...]:
        """What the cells of a row are: columns of the table, then child tables, by name."""
        return (*self.table.columns, *(child.name for child in self.children))

    def is_key(self, column: str, child: str | None) -> bool:
        """Whether a column, of the table or of a child table, has the record's at-uri."""
        return column == ("uri" if child is None else self.child(child).columns[0])

    def child(self, name: str) -> Child:
        """The child table of that name."""
        return next(child for child in self.every_child if child.name == name)

    def decoder(self) -> Callable[[Event], Row | None]:
        """The function from a create or update to its row, None where it has none.

        Raises `InvalidRecord` for a bad record, whatever is bad about it. Lone surrogates, which
        only JSON can have and Postgres cannot store, become U+FFFD.
        """
        one = Reading(self.record, self.row).decoder()
        if not self.also:
            return one
        each = {name: reading.decoder() for name, reading in self.also.items()}
        each[self.collection] = one
        return lambda event: each[event.collection or ""](event)


def _decoder(reading: Reading) -> Callable[[Event], Row | None]:
    decode = msgspec.json.Decoder(reading.record).decode
    row = reading.row

    def to_row(event: Event) -> Row | None:
        try:
            return row(event, decode(event.record or b"null"))
        except msgspec.ValidationError as error:
            raise _invalid(error) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            json = event.record or b""
            mended = without_lone_surrogates(json)
            if mended == json:
                raise _invalid(error) from None
        return to_row(msgspec.structs.replace(event, record=mended))

    return to_row


@dataclass(frozen=True, slots=True)
class Count:
    """The number of rows of `of`, or of its child table named `child`, with each value of the
    column `by`; NULL counts for nobody. Of a record at most one row has each value.

    Rows whose judged column `unless` is true do not count.
    """

    of: Projection
    by: str
    child: str | None = None
    unless: str | None = None

    @property
    def table(self) -> str:
        """The name of the table whose rows are counted."""
        return self.child or self.of.table.name

    def keys_of(self) -> Callable[[Row], list[str]]:
        """The function from a record's row to the keys that it counts for, each as often, unless
        it was judged not to."""
        if self.child is None:
            at = self.of.table.columns.index(self.by)
            return lambda row: [row[at]] if row[at] is not None else []
        at = self.of.cells.index(self.child)
        inner = self.of.child(self.child).columns.index(self.by)
        return lambda row: [one[inner] for one in row[at] or () if one[inner] is not None]


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A table of counters per key, kept in step with the rows of projections.

    A key whose counters are all zero has no row. `foreign` names further counter columns of the
    table that others keep: a row with one of them not zero stays.
    """

    name: str
    version: int
    table: str
    key: str
    counters: Mapping[str, Count]
    ddl: str
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Select:
    """One row of a derived table for each row `b` that meets a condition.

    `values` are its columns, each as SQL over `b`; those that are not named are NULL. `where` is
    the condition, as SQL over `b`.
    """

    values: Mapping[str, str]
    where: str = "true"


@dataclass(frozen=True, slots=True)
class Source:
    """What the rows of a projection, or of its child table `child`, make in a derived table."""

    of: Projection
    selects: tuple[Select, ...]
    child: str | None = None

    @property
    def key(self) -> str:
        """The column that has the at-uri of the record."""
        return "uri" if self.child is None else self.of.child(self.child).columns[0]


@dataclass(frozen=True, slots=True)
class Derived:
    """A table whose rows are a function of the rows of projections, kept in step with these.

    `key` is its column with the at-uri of the record that a row comes of; an index must begin with
    it. `columns` are all that are written, `key` among them; a column that the table fills of
    itself (an identity) is not. Rows come and go with those they come of: whoever holds a claim has
    them, a duplicate that waits has none.
    """

    name: str
    version: int
    table: str
    key: str
    columns: tuple[str, ...]
    sources: Mapping[str, Source]
    ddl: str

    @property
    def counters(self) -> Mapping[str, Count]:
        """What the table is fed by: of each source, how many rows a record has there."""
        return {
            name: Count(source.of, by=source.key, child=source.child)
            for name, source in self.sources.items()
        }


Fed = Aggregate | Derived
"""What is kept by what rows of projections do, told through the outbox."""

State = tuple[Any, ...]
"""What is known of an account: the cells of the columns after the key."""


@dataclass(frozen=True, slots=True)
class AccountProjection:
    """A table with a row per account, of all that the account's events say of it.

    `reads` are the kinds of events that matter: `identity`, `account`, `sync`, `commit`. `fold`
    makes of what was known of the account (None: nothing) and the next event, in the order of the
    log, what is known then; the same object where the event changes nothing. It is pure, and a
    suffix of events that comes once more must leave what it left. When the account is deleted its
    row goes, whatever `fold` says.

    `columns` are the written ones, the key first, which is the primary key; all are text. `kept`
    are columns that others write. `claim` names a column whose value one account may have at a
    time: the last that came to have it; that of the other becomes NULL. An index begins with it.
    """

    name: str
    version: int
    table: str
    columns: tuple[str, ...]
    reads: frozenset[str]
    fold: Callable[[State | None, Event], State | None]
    ddl: str
    kept: tuple[str, ...] = ()
    claim: str | None = None

    @property
    def key(self) -> str:
        """The column of the account."""
        return self.columns[0]

    @property
    def collections(self) -> tuple[str, ...]:
        """What is read, as the reader of the log knows it."""
        return tuple(EVERY_COMMIT if kind == "commit" else f"#{kind}" for kind in self.reads)


EVERY_COMMIT = "*"
"""Stands for all collections, where some could be named."""


@dataclass(frozen=True, slots=True)
class Companion:
    """Tables beside those of projections: others fill them, and who reads ours expects them.

    `projector init` makes them where they are missing, and no more; `ddl` is as a projection's.
    They are registered in the entry-point group `projector.companions`.
    """

    name: str
    ddl: str


Declaration = Projection | Aggregate | Derived | AccountProjection

Kept = Declaration | EventByEvent
"""Whatever has a checkpoint."""
