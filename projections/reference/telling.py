"""Whom likes, reposts, follows, verifications and profiles notify; posts say it themselves."""

from __future__ import annotations

from typing import Any

from events.event import Event
from projections.follow import follows
from projections.profile import profiles
from projections.reference.notices import Notice
from projections.rows import POINTER_COLUMNS
from projections.verdicts import did_of
from projections.verification import verifications
from projector.declare import Row


def like(row: Row, _: Event) -> list[Notice]:
    """Whose record is liked, and whose repost led there; nobody of the own."""
    return _pointer("like", row)


def repost(row: Row, _: Event) -> list[Notice]:
    """The same of a repost."""
    return _pointer("repost", row)


def _pointer(reason: str, row: Row) -> list[Notice]:
    said = dict(zip(POINTER_COLUMNS, row, strict=True))
    creator, subject, via = said["creator"], said["subject"], said["via"]
    if did_of(subject) == creator:
        return []
    notices = [_notice(said, did_of(subject), reason, subject)]
    if via is not None and did_of(via) != creator:
        notices.append(_notice(said, did_of(via), f"{reason}-via-repost", via))
    return notices


def follow(row: Row, _: Event) -> list[Notice]:
    """Who is followed, be it oneself."""
    said = dict(zip(follows.table.columns, row, strict=True))
    return [_notice(said, said["subjectDid"], "follow", None)]


def profile(row: Row, _: Event) -> list[Notice]:
    """Whose starter pack led here."""
    said = dict(zip(profiles.table.columns, row, strict=True))
    pack, at = said["joinedViaStarterPackUri"], said["indexedAt"]
    if pack is None:
        return []
    return [_notice(said, did_of(pack), "starterpack-joined", pack)._replace(sort_at=at)]


def verified(row: Row, _: Event) -> list[Notice]:
    """Who is verified."""
    said = dict(zip(verifications.table.columns, row, strict=True))
    return [_notice(said, said["subject"], "verified", None)]


def unverified(row: Row, event: Event) -> list[Notice]:
    """Who was verified so far. The AppView has its clock in it; here it is the event's time."""
    said = dict(zip(verifications.table.columns, row, strict=True))
    notice = _notice(said, said["subject"], "unverified", None)
    return [notice._replace(sort_at=event.indexed_at)]


def _notice(said: dict[str, Any], did: str, reason: str, subject: str | None) -> Notice:
    sort_at = min(said["createdAt"], said["indexedAt"])
    return Notice(did, said["uri"], said["cid"], said["creator"], reason, subject, sort_at)
