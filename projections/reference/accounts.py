"""Accounts: their handles, their status, their end; and what was last seen of their repos.

Handles are what identity events say: a projection asks no network. So no row of `actor` comes of a
commit by itself; what a resolver found out in between, and put into the log, is taken when the
AppView would have asked. A deleted account counts as gone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from events.event import RESOLVED, Event
from projector.effects import Doing, Effect, Refused, do

STATUSES: Final = ("takendown", "suspended", "deleted", "deactivated")

STALE: Final = timedelta(days=1)
STALE_WITHOUT_HANDLE: Final = timedelta(hours=1)

KNOWN: Final = 'SELECT handle, "indexedAt" FROM actor WHERE did = $1'
LET_GO: Final = "UPDATE actor SET handle = NULL WHERE handle = $1 AND did <> $2"
PUT_HANDLE: Final = """
INSERT INTO actor AS a (did, handle, "indexedAt") VALUES ($1, $2, $3)
ON CONFLICT (did) DO UPDATE SET handle = excluded.handle, "indexedAt" = excluded."indexedAt"
"""
SET_STATUS: Final = 'UPDATE actor SET "upstreamStatus" = $2 WHERE did = $1'
PUT_SYNC: Final = """
INSERT INTO actor_sync AS a (did, "commitCid", "repoRev") VALUES ($1, $2, $3)
ON CONFLICT (did) DO UPDATE SET "commitCid" = excluded."commitCid", "repoRev" = excluded."repoRev"
"""
OF_CREATOR: Final = ("profile", "follow", "repost", "like", "feed_generator", "labeler",
                     "list_item", "list", "actor_block", "list_block",
                     "reference_list_opt_out")  # fmt: skip
EMBEDS: Final = ("image", "external", "record", "video", "gallery_image")
DELETE: Final = (
    "DELETE FROM actor WHERE did = $1",
    *(f'DELETE FROM "{table}" WHERE creator = $1' for table in OF_CREATOR),
    *(
        f'DELETE FROM post_embed_{kind} WHERE "postUri" IN '
        "(SELECT uri FROM post WHERE creator = $1)"
        for kind in EMBEDS
    ),
    *(f"DELETE FROM {table} WHERE creator = $1" for table in ("post", "thread_gate", "post_gate")),
    "DELETE FROM notification WHERE author = $1",
    'DELETE FROM duplicate_record WHERE "duplicateOf" IN (SELECT uri FROM record WHERE did = $1)',
    "DELETE FROM record WHERE did = $1",
    "DELETE FROM notification WHERE did = $1",
)
"""What goes with an account, in this order. What is not named stays, counts too."""


class _Told(msgspec.Struct):
    """What events of accounts say."""

    handle: str | None = None
    active: bool = False
    status: str | None = None
    commit: str = ""


_decode = msgspec.json.Decoder(_Told).decode


def identity(event: Event) -> Effect:
    """The handle is the account's from now on, and nobody else's."""
    handle = _told(event).handle
    if not handle or (event.action == RESOLVED and not (yield from _is_due(event))):
        return
    known = None if handle == "handle.invalid" else handle.lower()
    if known is not None:
        yield from do(LET_GO, known, event.did)
    yield from do(PUT_HANDLE, event.did, known, event.indexed_at)


def _is_due(event: Event) -> Doing[bool]:
    """Whether the handle would be asked for: of whom nothing is known, or nothing of late."""
    for handle, indexed_at in (yield from do(KNOWN, event.did)):
        age = datetime.fromisoformat(event.indexed_at) - datetime.fromisoformat(indexed_at)
        return bool(age > STALE or (handle is None and age > STALE_WITHOUT_HANDLE))
    return True


def account(event: Event) -> Effect:
    """The account's status changes, if it is known; or it is no more."""
    told = _told(event)
    status = (told.status or "").lower()
    if status and status not in STATUSES:
        return
    if told.active:
        yield from do(SET_STATUS, event.did, None)
    elif status == "deleted":
        for statement in DELETE:
            yield from do(statement, event.did)
    elif status:
        yield from do(SET_STATUS, event.did, status)
    else:
        raise Refused("the account is not active, and the event tells no status")


def repo(event: Event) -> Effect:
    """What was last seen of the repo, however old it is.

    Few sources tell a commit's CID; where it is not told, the column is empty.
    """
    commit = _told(event).commit if event.kind == "sync" else ""
    yield from do(PUT_SYNC, event.did, commit, event.rev)


def _told(event: Event) -> _Told:
    try:
        return _decode(event.record or b"{}")
    except msgspec.MsgspecError as error:
        raise Refused(str(error)) from None
