"""What several projections share: the DDL beside them, and the row of a like and a repost."""

from __future__ import annotations

from importlib import resources

import msgspec
from msgspec import UNSET, UnsetType

from events.event import Event
from projections.lexicon import StrongRef, check_ref, moment
from projector.declare import InvalidRecord, Row


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


def no_cid() -> str:
    """Raises `InvalidRecord`: a create or update without a cid has no row."""
    raise InvalidRecord("Event lacks the record's cid")


def ddl(*names: str) -> str:
    """The named `.sql` files of this package, one after the other."""
    package = resources.files("projections")
    return "\n".join(package.joinpath(name).read_text("utf-8") for name in names)
