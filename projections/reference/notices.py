"""Notifications: written when a record is indexed, and never looked at again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from projector.effects import Effect, Refused, do

# Of a muted thread nobody is told; where that leaves nobody, the AppView fails.
PUT: Final = """
INSERT INTO notification (did, "recordUri", "recordCid", author, reason, "reasonSubject", "sortAt")
SELECT n.did, n.uri, n.cid, n.author, n.reason, n.subject, n.sort_at
FROM unnest($1::varchar[], $2::varchar[], $3::varchar[], $4::varchar[], $5::varchar[],
    $6::varchar[], $7::varchar[]) WITH ORDINALITY
    AS n(did, uri, cid, author, reason, subject, sort_at, place)
WHERE NOT EXISTS (SELECT FROM post AS p JOIN thread_mute AS m
    ON m."rootUri" = coalesce(p."replyRoot", p.uri) AND m."mutedByDid" = n.did
    WHERE p.uri = n.subject)
ORDER BY n.place
RETURNING did
"""
FORGET: Final = 'DELETE FROM notification WHERE "recordUri" = $1'
CHUNK: Final = 500


class Notice(NamedTuple):
    """One account is told of one record; the columns of `notification`."""

    did: str
    uri: str
    cid: str
    author: str
    reason: str
    subject: str | None
    sort_at: str


def notify(notices: Sequence[Notice]) -> Effect:
    """Writes notifications. Refuses where mutes leave none of a chunk."""
    for start in range(0, len(notices), CHUNK):
        columns = map(list, zip(*notices[start : start + CHUNK], strict=True))
        if not (yield from do(PUT, *columns)):
            raise Refused("all who would be notified have muted the thread")


def forget(uri: str) -> Effect:
    """Removes the notifications that a record has made."""
    yield from do(FORGET, uri)
