"""What accounts are called, and how they stand → `actor`: from identity and account events.

A handle is what a resolver found (`projector resolve`): an event of kind `identity` and action
`resolved`, whose record has `handle`, a text or null. What an identity event of the network itself
says of a handle is a claim that nobody has checked, and counts for nothing; it makes the row, as an
account event does.
"""

from __future__ import annotations

import msgspec

from events.event import RESOLVED, Event
from projections.rows import ddl
from projector.declare import AccountProjection, State

STATUSES = frozenset({"deactivated", "suspended", "takendown"})
"""The states of an account that are shown; others, such as `throttled`, say nothing of it."""


class Resolved(msgspec.Struct, gc=False):
    """What a resolver found."""

    handle: str | None


_resolved = msgspec.json.Decoder(Resolved).decode


def actor_fold(state: State | None, event: Event) -> State | None:
    """The cells (handle, indexedAt, upstreamStatus) after an event."""
    handle, indexed_at, status = state or (None, event.indexed_at, None)
    if event.kind == "identity":
        if event.action != RESOLVED:
            return state or (handle, indexed_at, status)
        found = _resolved(event.record or b"null").handle
        return (found and found.lower(), event.indexed_at, status)
    if event.action == "active":
        told = None
    elif event.action in STATUSES:
        told = event.action
    else:
        return state
    return state if state and status == told else (handle, indexed_at, told)


actors = AccountProjection(
    name="actor",
    version=1,
    table="actor",
    columns=("did", "handle", "indexedAt", "upstreamStatus"),
    reads=frozenset({"identity", "account"}),
    fold=actor_fold,
    kept=(
        "takedownRef", "trustedVerifier", "ageAssuranceStatus", "ageAssuranceLastInitiatedAt",
        "ageAssuranceAccess", "ageAssuranceCountryCode", "ageAssuranceRegionCode",
    ),
    claim="handle",
    ddl=ddl("actor.sql"),
)  # fmt: skip
