"""What several projections share: the DDL beside them, and the row of a like and a repost."""

from __future__ import annotations

from importlib import resources

import msgspec
from msgspec import UNSET, UnsetType

from events.event import Event
from projections.lexicon import StrongRef, check_ref, check_text, invalid, moment
from projector.declare import InvalidRecord, Row

SELF = "self"
"""The record key of what an account has one of."""

DESCRIPTION_BYTES_MAX = 3000
DESCRIPTION_GRAPHEMES_MAX = 300


class Pointer(msgspec.Struct, gc=False):
    """The fields of a record that points at another (its type is for the heir to say)."""

    subject: StrongRef
    createdAt: str
    via: StrongRef | UnsetType = UNSET


POINTER_COLUMNS = (
    "uri",
    "cid",
    "creator",
    "subject",
    "subjectCid",
    "createdAt",
    "indexedAt",
    "via",
    "viaCid",
)


def pointer_row(event: Event, record: Pointer) -> Row:
    """The row of the columns `POINTER_COLUMNS`."""
    subject, via = record.subject, record.via
    check_ref(subject, "$.subject")
    if via is UNSET:
        via_uri = via_cid = None
    else:
        check_ref(via, "$.via")
        via_uri, via_cid = via.uri, via.cid
    return (
        event.uri,
        event.cid or no_cid(),
        event.did,
        subject.uri,
        subject.cid,
        moment(record.createdAt),
        event.indexed_at,
        via_uri,
        via_cid,
    )


def framed(event: Event, created_at: str, *cells: str | None) -> Row:
    """The row of uri, cid and creator, then the cells, then createdAt and indexedAt."""
    cid = event.cid or no_cid()
    return (event.uri, cid, event.did, *cells, moment(created_at), event.indexed_at)


def framed_columns(*names: str) -> tuple[str, ...]:
    """The columns of `framed`."""
    return ("uri", "cid", "creator", *names, "createdAt", "indexedAt")


def storable(text: str) -> str:
    """The text with each U+0000, which Postgres cannot store, replaced by U+FFFD."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def described(text: str | UnsetType) -> str | None:
    """A checked description as it can be stored; None where it is absent."""
    if text is UNSET:
        return None
    check_text(text, "$.description", DESCRIPTION_BYTES_MAX, DESCRIPTION_GRAPHEMES_MAX)
    return storable(text)


def check_gate(event: Event, post: str) -> None:
    """Raises unless a gate is in the repo of its post, under the post's record key."""
    did, rkey = post.split("/", 3)[2], post.rpartition("/")[2].partition("#")[0]
    if post.count("/") < 4 or (did, rkey) != (event.did, event.rkey):
        raise invalid("Expected a post of the same repo and record key", post, "$.post")


def maybe(text: str | UnsetType) -> str | None:
    """The text as it can be stored; None where it is absent."""
    return None if text is UNSET else storable(text)


def no_cid() -> str:
    """Raises `InvalidRecord`: a create or update without a cid has no row."""
    raise InvalidRecord("Event lacks the record's cid")


def ddl(*names: str) -> str:
    """The named `.sql` files of this package, one after the other."""
    package = resources.files("projections")
    return "\n".join(package.joinpath(name).read_text("utf-8") for name in names)
