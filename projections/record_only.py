"""Collections whose records are kept in `record` and nowhere else."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, UnsetType

from events.event import Event
from projections.embeds import check_external
from projections.lexicon import Positive, Typed, check_uri, invalid, moment
from projector.declare import Reading

VERSION_BYTES_MIN, VERSION_BYTES_MAX = 5, 14
URL_BYTES_MAX = 2047
BUTTON_BYTES_MAX = 100


class Status(msgspec.Struct, gc=False):
    """What an account is doing."""

    type: Literal["app.bsky.actor.status"] = msgspec.field(name="$type")
    status: str
    createdAt: str
    embed: Raw | UnsetType = UNSET
    durationMinutes: Positive | UnsetType = UNSET


class NotificationDeclaration(msgspec.Struct, gc=False):
    """Who may be told of an account's posts."""

    type: Literal["app.bsky.notification.declaration"] = msgspec.field(name="$type")
    allowSubscriptions: str


class Bytes(msgspec.Struct, gc=False):
    """Bytes as JSON writes them; how they are encoded is not looked at."""

    bytes: str = msgspec.field(name="$bytes")


class MessageMe(Typed, gc=False, tag="com.germnetwork.declaration#messageMe"):
    """How an account can be written to, and who is shown that."""

    messageMeUrl: str
    showButtonTo: str


class GermDeclaration(msgspec.Struct, gc=False):
    """An account's keys."""

    type: Literal["com.germnetwork.declaration"] = msgspec.field(name="$type")
    version: str
    currentKey: Bytes | list[int]
    messageMe: MessageMe | UnsetType = UNSET
    keyPackage: Bytes | list[int] | UnsetType = UNSET
    continuityProofs: Annotated[list[Bytes | list[int]], Meta(max_length=1000)] | UnsetType = UNSET


def check_status(_: Event, record: Status) -> None:
    """Raises unless it is a status."""
    moment(record.createdAt)
    if record.embed is not UNSET:
        check_external(record.embed, "$.embed")


def check_germ(_: Event, record: GermDeclaration) -> None:
    """Raises unless it is a declaration."""
    _check_length(record.version, "$.version", VERSION_BYTES_MIN, VERSION_BYTES_MAX)
    me = record.messageMe
    if me is not UNSET:
        check_uri(me.messageMeUrl, "$.messageMe.messageMeUrl")
        _check_length(me.messageMeUrl, "$.messageMe.messageMeUrl", 1, URL_BYTES_MAX)
        _check_length(me.showButtonTo, "$.messageMe.showButtonTo", 1, BUTTON_BYTES_MAX)


def _check_length(text: str, path: str, least: int, most: int) -> None:
    if not least <= len(text.encode()) <= most:
        raise invalid(f"Expected {least} to {most} bytes", text, path)


def check_nothing(_: Event, __: Any) -> None:
    """What the type says is all there is to check."""


RECORD_ONLY = {
    "app.bsky.actor.status": Reading(Status, check_status),
    "app.bsky.notification.declaration": Reading(NotificationDeclaration, check_nothing),
    # The AppView takes any object.
    "chat.bsky.actor.declaration": Reading(dict[str, Raw], check_nothing),
    "com.germnetwork.declaration": Reading(GermDeclaration, check_germ),
}
"""How their records are checked; none makes a row but that in `record`."""
