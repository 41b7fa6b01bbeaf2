"""How a projection is declared. Everything general is in the engine; a declaration is data."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from events.event import Event


class InvalidRecord(ValueError):
    """The record does not satisfy its lexicon. The message names the field and the rule."""


Row = tuple[Any, ...]

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
    text or None). Three columns have a meaning to the engine and must be among them: `uri` (the
    primary key), `creator` (the account) and `indexedAt` (the event's time).

    `unique` names the columns of which one account may hold each combination once (a follow's
    subject); it must contain `creator`. Of several live records with the same combination the one
    with the smallest (`indexedAt`, `uri`) has the row; the others are listed in `duplicates`, a
    table that the projection's `ddl` must make as well (`projections/duplicate_record.sql`).
    """

    name: str
    columns: tuple[str, ...]
    types: Mapping[str, str] = field(default_factory=dict)
    unique: tuple[str, ...] | None = None
    duplicates: str = "duplicate_record"


@dataclass(frozen=True, slots=True)
class Projection:
    """A table kept in step with one collection of the log.

    `record` is the msgspec type that the record's JSON is decoded into; `row` makes the row from
    the event and the decoded record, and raises `InvalidRecord` where the lexicon asks for more
    than the type says. `ddl` is SQL, statements ended by `;` at a line's end, with `{schema}` for
    the schema. Raise `version` whenever any of this changes: the projection is then rebuilt.
    """

    name: str
    version: int
    collection: str
    record: Any
    row: Callable[[Event, Any], Row]
    table: Table
    ddl: str

    def decoder(self) -> Callable[[Event], Row]:
        """The function from a create or update to its row.

        Raises `InvalidRecord` for a bad record, whatever is bad about it. Lone surrogates, which
        only JSON can have and Postgres cannot store, become U+FFFD.
        """
        decode = msgspec.json.Decoder(self.record).decode
        row = self.row

        def to_row(event: Event) -> Row:
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
    """The number of rows of `of` with each value of the column `by`; NULL counts for nobody."""

    of: Projection
    by: str


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


Declaration = Projection | Aggregate
