"""How far each repo is known → `actor_sync`: the highest revision of its commits and syncs.

The CID of a commit is told by sync events alone: of one that no source told `commitCid` is empty.
"""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from events.event import Event
from projections.rows import ddl
from projector.declare import AccountProjection, State

TID_CHARS = 13
"""Of a revision that can be compared: the order of such texts is that of time."""


class Sync(msgspec.Struct, gc=False):
    """The part of a sync event's own object that tells of the commit."""

    commit: str | UnsetType = UNSET


_sync = msgspec.json.Decoder(Sync).decode


def sync_fold(state: State | None, event: Event) -> State | None:
    """The cells (commitCid, repoRev) after an event."""
    rev = event.rev
    if rev is None or len(rev) != TID_CHARS:
        return state
    if state is not None and (rev < state[1] or (rev == state[1] and state[0])):
        return state
    cid = "" if event.kind == "commit" else _commit_of(event)
    return state if state == (cid, rev) else (cid, rev)


def _commit_of(event: Event) -> str:
    try:
        commit = _sync(event.record or b"{}").commit
    except msgspec.MsgspecError:
        return ""
    return "" if commit is UNSET or "\0" in commit else commit


actor_syncs = AccountProjection(
    name="actor_sync",
    version=1,
    table="actor_sync",
    columns=("did", "commitCid", "repoRev"),
    reads=frozenset({"commit", "sync", "account"}),
    fold=sync_fold,
    ddl=ddl("actor_sync.sql"),
)
