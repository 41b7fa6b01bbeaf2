"""`app.bsky.actor.profile` → `profile`: one row per account.

Where the AppView (0.0.280) stores `createdAt` as it came, or the clock where it is absent, this
stores it in the usual form, or the event's time. Like the AppView it leaves `pinnedPost` empty.
"""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec import UNSET, Raw, UnsetType

from events.event import Event
from projections.blobs import Blob, avatar_cid
from projections.lexicon import StrongRef, check_ref, check_text, check_uri, moment
from projections.richtext import check_labels
from projections.rows import SELF, ddl, maybe, no_cid
from projector.declare import Projection, Row, Table

NAME_BYTES_MAX, NAME_GRAPHEMES_MAX = 640, 64
DESCRIPTION_BYTES_MAX, DESCRIPTION_GRAPHEMES_MAX = 2560, 256
PRONOUNS_BYTES_MAX, PRONOUNS_GRAPHEMES_MAX = 200, 20


class Profile(msgspec.Struct, gc=False):
    """What an account says of itself."""

    type: Literal["app.bsky.actor.profile"] = msgspec.field(name="$type")
    displayName: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    pronouns: str | UnsetType = UNSET
    website: str | UnsetType = UNSET
    avatar: Blob | UnsetType = UNSET
    banner: Blob | UnsetType = UNSET
    labels: Raw | UnsetType = UNSET
    joinedViaStarterPack: StrongRef | UnsetType = UNSET
    pinnedPost: StrongRef | UnsetType = UNSET
    createdAt: str | UnsetType = UNSET


def profile_row(event: Event, record: Profile) -> Row | None:
    """The row of the table's columns; an account has one profile."""
    _check_texts(record)
    joined = record.joinedViaStarterPack
    if joined is not UNSET:
        check_ref(joined, "$.joinedViaStarterPack")
    if record.pinnedPost is not UNSET:
        check_ref(record.pinnedPost, "$.pinnedPost")
    if record.labels is not UNSET:
        check_labels(record.labels, "$.labels")
    row = (
        event.uri,
        event.cid or no_cid(),
        event.did,
        maybe(record.displayName),
        maybe(record.description),
        avatar_cid(record.avatar, "$.avatar"),
        avatar_cid(record.banner, "$.banner"),
        event.indexed_at,
        joined.uri if joined is not UNSET else None,
        event.indexed_at if record.createdAt is UNSET else moment(record.createdAt),
    )
    return row if event.rkey == SELF else None


def _check_texts(record: Profile) -> None:
    if record.displayName is not UNSET:
        check_text(record.displayName, "$.displayName", NAME_BYTES_MAX, NAME_GRAPHEMES_MAX)
    if record.description is not UNSET:
        check_text(
            record.description, "$.description", DESCRIPTION_BYTES_MAX, DESCRIPTION_GRAPHEMES_MAX
        )
    if record.pronouns is not UNSET:
        check_text(record.pronouns, "$.pronouns", PRONOUNS_BYTES_MAX, PRONOUNS_GRAPHEMES_MAX)
    if record.website is not UNSET:
        check_uri(record.website, "$.website")


profiles = Projection(
    name="profile",
    version=1,
    collection="app.bsky.actor.profile",
    record=Profile,
    row=profile_row,
    table=Table(
        "profile",
        (
            "uri",
            "cid",
            "creator",
            "displayName",
            "description",
            "avatarCid",
            "bannerCid",
            "indexedAt",
            "joinedViaStarterPackUri",
            "createdAt",
        ),
    ),
    ddl=ddl("profile.sql"),
)
