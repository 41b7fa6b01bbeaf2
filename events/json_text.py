"""What can be learnt of a JSON text, and kept of it, without decoding it whole."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

import msgspec

MALFORMED: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What msgspec raises for bad input; deep nesting, for one, is no ValueError."""

NOTHING: Final = msgspec.Raw()
"""Stands for a member that is absent."""

Message = TypeVar("Message")

_spaces = re.compile(r"[ \t\n\r]*").match
_string = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
# A lone surrogate is in JSON's grammar, but nothing that msgspec reads or passes over.
_surrogate_escape = re.compile(rb"\\u[dD][89a-fA-F]").search
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""The members of an object, by key, unread; raises one of MALFORMED where it is none."""

_text = msgspec.json.Decoder(str).decode
_integer = msgspec.json.Decoder(int).decode


def _refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


# Numbers are only passed over: reading them could fail (Python bounds the digits of an int).
_value = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse).raw_decode


def text_member(of: Mapping[str, msgspec.Raw], key: str) -> str | None:
    """The member if it is a string."""
    try:
        return _text(of.get(key, NOTHING))
    except MALFORMED:
        return None


def integer_member(of: Mapping[str, msgspec.Raw], key: str) -> int | None:
    """The member if it is a number written as an integer."""
    try:
        return _integer(of.get(key, NOTHING))
    except MALFORMED:
        return None


def is_object(raw: bytes | msgspec.Raw) -> bool:
    """Whether a valid JSON text without spaces before it is an object."""
    return bytes(raw).startswith(b"{")


def on_one_line(raw: bytes) -> bytes:
    """A valid JSON text without newlines: they can only stand between tokens."""
    return raw.replace(b"\n", b" ") if b"\n" in raw else raw


def is_nested_deeper(raw: bytes, levels_max: int) -> bool:
    """Whether arrays and objects in a valid JSON text stand deeper than `levels_max`."""
    if raw.count(b"{") + raw.count(b"[") <= levels_max:
        return False
    levels = 0
    for bracket in _string.sub(b"", raw).translate(None, _NOT_BRACKETS):
        levels += 1 if bracket in b"[{" else -1
        if levels > levels_max:
            return True
    return False


def value_span(raw: bytes, *path: str) -> tuple[int, int] | None:
    """The slice that holds the value at `path` (object keys); None where there is none.

    Passes over lone surrogates. Checks only the value and the text before it. Never raises.
    """
    # One character per byte, so that places in the text are places in `raw`.
    text = raw.decode("latin-1")
    span = (0, len(text))
    try:
        for key in path:
            span = _spans(text, span[0])[key]
    except (ValueError, LookupError, RecursionError):
        return None
    return span


def parse_around(
    parse: Callable[[bytes], Message], raw: bytes, *path: str
) -> tuple[Message, bytes] | None:
    """What `parse` makes of the text with `{}` in place of the value at `path`, and that value.

    For what msgspec does not read but we keep: a record with a lone surrogate. None where there is
    no such value, or the rest does not parse either.
    """
    span = value_span(raw, *path) if _surrogate_escape(raw) is not None else None
    if span is None:
        return None
    start, end = span
    try:
        return parse(raw[:start] + b"{}" + raw[end:]), raw[start:end]
    except MALFORMED:
        return None


def _spans(text: str, start: int) -> dict[str, tuple[int, int]]:
    at = _skip(text, start)
    if text[at] != "{":
        raise ValueError("not an object")
    spans: dict[str, tuple[int, int]] = {}
    at = _skip(text, at + 1)
    while text[at] == '"':
        key, at = _value(text, at)
        at = _skip(text, at)
        if text[at] != ":":
            raise ValueError("a key without a value")
        first = _skip(text, at + 1)
        _, end = _value(text, first)
        spans[key] = (first, end)
        at = _skip(text, end)
        if text[at] != ",":
            break
        at = _skip(text, at + 1)
    return spans


def _skip(text: str, at: int) -> int:
    found = _spaces(text, at)
    assert found is not None
    return found.end()
