"""Records as the AppView reads them: the same lexicons, but nothing is mended.

Where the default projections keep a record that Postgres would refuse, this lets it refuse.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from events.event import Event
from projections.lexicon import SAFE_INTEGER_MAX
from projector.declare import InvalidRecord, Reading, Row


class Item(NamedTuple):
    """A record that has passed its lexicon: its JSON, decoded; the row that it makes, if any."""

    event: Event
    json: str
    record: Any
    row: Row | None


_escapes = re.compile(rb"\\u0000|\\.").sub
_has_long_number = re.compile(rb"\d{16}").search


def reader(reading: Reading) -> Callable[[Event], Item]:
    """The function that reads the records of a collection.

    It raises `InvalidRecord`, or `UnicodeError` where the JSON is no UTF-8.
    """

    def parts(event: Event, record: Any) -> Row:
        return record, reading.row(event, record)

    decode = Reading(reading.record, parts).decoder()

    def read(event: Event) -> Item:
        raw = event.record or b""
        if _has_long_number(raw):
            _check_integers(raw)
        if b"\\u0000" not in raw:
            return _item(event, decode(event))
        # U+0000 would become U+FFFD: another character goes in its place, and out again.
        other = _unused_character(raw)
        escape = f"\\u{ord(other):04x}"
        changed = _escapes(lambda m: escape.encode() if m[0] == b"\\u0000" else m[0], raw)
        item = _item(event, decode(msgspec.structs.replace(event, record=changed)))
        return item._replace(row=_restored(item.row, other, escape))

    return read


def _item(event: Event, parts: Row | None) -> Item:
    assert parts is not None
    return Item(event, (event.record or b"").decode(), *parts)


def _unused_character(raw: bytes) -> str:
    """A control character, as long as U+0000, that the JSON does not have."""
    escaped = raw.lower()
    for number in range(1, 32):
        if b"\\u%04x" % number not in escaped:
            return chr(number)
    raise InvalidRecord("Expected fewer control characters beside U+0000")


def _restored(cell: Any, character: str, escape: str) -> Any:
    if isinstance(cell, tuple):
        return tuple(_restored(inner, character, escape) for inner in cell)
    if isinstance(cell, str):
        return cell.replace(character, "\0").replace(escape, "\\u0000")
    return cell


def _check_integers(raw: bytes) -> None:
    """Raises where an integer, even in a field that no lexicon knows, is none of JavaScript's."""
    try:
        json.loads(raw, parse_int=_integer)
    except (ValueError, RecursionError) as error:
        raise InvalidRecord(str(error)) from None


def _integer(digits: str) -> int:
    value = int(digits)
    if abs(value) > SAFE_INTEGER_MAX:
        raise ValueError(f"Expected an integer within ±{SAFE_INTEGER_MAX}")
    return value
