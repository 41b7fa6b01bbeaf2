"""Every accepted record of every collection → `record`, with its JSON as it came."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from events.event import Event
from projections.block import blocks
from projections.feed_generator import feed_generators
from projections.follow import follows
from projections.labeler import labelers
from projections.like import likes
from projections.list import lists
from projections.list_block import list_blocks
from projections.list_item import list_items
from projections.post import posts
from projections.post_gate import post_gates
from projections.profile import profiles
from projections.record_only import RECORD_ONLY
from projections.reference_list_opt_out import reference_list_opt_outs
from projections.repost import reposts
from projections.rows import ddl, no_cid
from projections.starter_pack import starter_packs
from projections.thread_gate import thread_gates
from projections.verification import verifications
from projector.declare import Projection, Reading, Row, Table

TYPED = (
    likes, follows, reposts, blocks, profiles, lists, list_items, list_blocks, feed_generators,
    starter_packs, labelers, thread_gates, post_gates, verifications, reference_list_opt_outs,
)  # fmt: skip
"""The projections beside that of posts whose records are kept."""


def kept(check: Callable[[Event, Any], object]) -> Callable[[Event, Any], Row]:
    """The function that makes the row of `record`, once the record has passed the check."""

    def row(event: Event, record: Any) -> Row:
        check(event, record)
        json = (event.record or b"").decode()
        return (event.uri, event.cid or no_cid(), event.did, json, event.indexed_at)

    return row


records = Projection(
    name="record",
    version=1,
    collection=posts.collection,
    record=posts.record,
    row=kept(posts.row),
    also={
        **{p.collection: Reading(p.record, kept(p.row)) for p in TYPED},
        **{name: Reading(r.record, kept(r.row)) for name, r in RECORD_ONLY.items()},
    },
    table=Table(
        "record",
        ("uri", "cid", "did", "json", "indexedAt"),
        types={"tags": "jsonb"},
        account="did",
        kept=("takedownRef", "tags"),
    ),
    ddl=ddl("record.sql"),
)
