"""The lexicon kinds that records are made of, and their checks, as strict as the AppView's own.

A record is decoded into msgspec structs that say its shape: which fields there must be, of which
JSON type, in which range. A field that may be absent may still not be null. An object whose type
the lexicon fixes may leave out its `$type`, but may not state another. Fields that the lexicon
does not know are ignored. The checks here are for what msgspec cannot say; they raise
`InvalidRecord`, which names the rule, the value and the field's path.

Rules: https://atproto.com/specs/lexicon, and where the AppView (0.0.280) reads it otherwise, the
AppView. Known deviations from it:

- Big integers and non-sha256 links in fields that no lexicon declares are not looked for.
- Graphemes are those of the Unicode version of the `regex` package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import UnionType
from typing import Annotated, get_args

import msgspec
import regex

from events.syntax import (
    is_at_uri,
    is_cid,
    is_did,
    is_handle,
    is_language,
    is_nsid,
    is_uri,
    is_usual_ref,
    normal_datetime,
)
from projector.declare import InvalidRecord

SAFE_INTEGER_MAX = 2**53 - 1
Natural = Annotated[int, msgspec.Meta(ge=0, le=SAFE_INTEGER_MAX)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=SAFE_INTEGER_MAX)]

_VALUE_CHARS_MAX = 100
_graphemes: Callable[[str], Iterator[object]] = regex.compile(r"\X").finditer


class Typed(msgspec.Struct, gc=False, tag_field="$type"):
    """An object of a known type: `$type`, where it is stated, must be the struct's tag."""


class StrongRef(Typed, gc=False, tag="com.atproto.repo.strongRef"):
    """A record at one version: its at-uri and cid."""

    uri: str
    cid: str


class OpenUnion:
    """A union that takes any object with a string `$type`, and looks only into those it knows.

    `known` is a `Typed` struct or a union of such.
    """

    def __init__(self, known: UnionType | type[Typed]) -> None:
        # With a second struct even a single known one must be named by `$type`.
        decoder: msgspec.json.Decoder[Typed] = msgspec.json.Decoder(known | _Unnamed)
        self._decode = decoder.decode
        structs = get_args(known) or (known,)
        self._tags = frozenset(struct.__struct_config__.tag for struct in structs)

    def decode(self, raw: msgspec.Raw, path: str) -> Typed | None:
        """The decoded object, or None if its type is not a known one."""
        try:
            return self._decode(raw)
        except msgspec.ValidationError as error:
            if _type_of(raw, path) in self._tags:
                raise _at(path, error) from None
            return None


class _Unnamed(Typed, gc=False, tag=""):
    pass


class _AnyType(msgspec.Struct, gc=False):
    type: str = msgspec.field(name="$type")


_decode_any_type = msgspec.json.Decoder(_AnyType).decode


def _type_of(raw: msgspec.Raw, path: str) -> str:
    try:
        return _decode_any_type(raw).type
    except msgspec.ValidationError as error:
        raise _at(path, error) from None


def _at(path: str, error: msgspec.ValidationError) -> InvalidRecord:
    """The error about a part of the record, as one about the record."""
    rule, found, inner = str(error).rpartition(" - at `$")
    return InvalidRecord(f"{rule} - at `{path}{inner}" if found else f"{error} - at `{path}`")


def invalid(rule: str, value: str, path: str) -> InvalidRecord:
    """The error that says which rule the value at the path breaks."""
    return InvalidRecord(f"{rule}, got {value[:_VALUE_CHARS_MAX]!r} - at `{path}`")


def moment(text: str) -> str:
    """A record's `createdAt` as `YYYY-MM-DDTHH:MM:SS.mmmZ`; raises where it is no datetime."""
    normal = normal_datetime(text)
    if normal is None:
        raise invalid("Expected a datetime", text, "$.createdAt")
    return normal


def check_ref(ref: StrongRef, path: str) -> None:
    """Raises unless the uri is an at-uri and the cid a CID."""
    if is_usual_ref(ref.uri, ref.cid):
        return
    if not is_at_uri(ref.uri):
        raise invalid("Expected an at-uri", ref.uri, f"{path}.uri")
    if not is_cid(ref.cid):
        raise invalid("Expected a CID", ref.cid, f"{path}.cid")


def check_at_uri(text: str, path: str) -> None:
    """Raises unless it is an at-uri."""
    if not is_at_uri(text):
        raise invalid("Expected an at-uri", text, path)


def check_handle(text: str, path: str) -> None:
    """Raises unless it is a handle."""
    if not is_handle(text):
        raise invalid("Expected a handle", text, path)


def check_nsid(text: str, path: str) -> None:
    """Raises unless it is the name of a lexicon."""
    if not is_nsid(text):
        raise invalid("Expected an NSID", text, path)


def check_did(text: str, path: str) -> None:
    """Raises unless it is a DID."""
    if not is_did(text):
        raise invalid("Expected a DID", text, path)


def check_uri(text: str, path: str) -> None:
    """Raises unless it is a URI."""
    if not is_uri(text):
        raise invalid("Expected a URI", text, path)


def check_language(text: str, path: str) -> None:
    """Raises unless it is a language tag."""
    if not is_language(text):
        raise invalid("Expected a language tag", text, path)


def check_text(text: str, path: str, bytes_max: int, graphemes_max: int) -> None:
    """Raises if the text is longer than either: in UTF-8 bytes, or in grapheme clusters.

    `bytes_max` must be at least four times `graphemes_max`: then a text of so few characters fits.
    """
    if len(text) <= graphemes_max:
        return
    check_bytes(text, path, bytes_max)
    if sum(1 for _ in _graphemes(text)) > graphemes_max:
        raise invalid(f"Expected at most {graphemes_max} graphemes", text, path)


def check_bytes(text: str, path: str, bytes_max: int) -> None:
    """Raises if the text has more bytes in UTF-8."""
    if len(text.encode()) > bytes_max:
        raise invalid(f"Expected at most {bytes_max} bytes", text, path)
