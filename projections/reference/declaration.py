"""The declaration: which collection goes by which rules, and what events of accounts do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from events.event import Event
from projections.block import blocks
from projections.feed_generator import feed_generators
from projections.follow import follows
from projections.labeler import labelers
from projections.like import likes
from projections.list import lists
from projections.list_block import list_blocks
from projections.list_item import list_items
from projections.post_gate import post_gates
from projections.record_only import RECORD_ONLY
from projections.reference import accounts, indexing, telling
from projections.reference.feeds import RepostRules
from projections.reference.gates import GateRules
from projections.reference.posts import PostRules
from projections.reference.profiles import ProfileRules
from projections.reference.rules import RecordOnlyRules, Rules, TableRules
from projections.reference_list_opt_out import reference_list_opt_outs
from projections.rows import SELF, ddl
from projections.starter_pack import starter_packs
from projections.thread_gate import thread_gates
from projections.verification import verifications
from projector.effects import Effect, EventByEvent

COLLECTIONS: Final[dict[str, Rules]] = {
    likes.collection: TableRules(likes, on_insert=telling.like, forgets=True),
    "app.bsky.feed.repost": RepostRules(),
    follows.collection: TableRules(follows, on_insert=telling.follow, forgets=True),
    "app.bsky.feed.post": PostRules(),
    "app.bsky.actor.profile": ProfileRules(),
    blocks.collection: TableRules(blocks),
    lists.collection: TableRules(lists),
    list_items.collection: TableRules(list_items),
    list_blocks.collection: TableRules(list_blocks),
    starter_packs.collection: TableRules(starter_packs),
    feed_generators.collection: TableRules(feed_generators),
    labelers.collection: TableRules(labelers),
    thread_gates.collection: GateRules(thread_gates, "hasThreadGate"),
    post_gates.collection: GateRules(post_gates, "hasPostGate"),
    verifications.collection: TableRules(
        verifications, on_insert=telling.verified, on_delete=telling.unverified
    ),
    reference_list_opt_outs.collection: TableRules(reference_list_opt_outs, promotes=False),
    **{name: RecordOnlyRules(reading, SELF) for name, reading in RECORD_ONLY.items()},
}
ACTIONS: Final = {
    "create": indexing.create,
    "update": indexing.update,
    "delete": indexing.delete,
}
ACCOUNTS: Final = {
    "identity": accounts.identity,
    "account": accounts.account,
    "sync": accounts.repo,
}


def apply(event: Event) -> Iterator[Effect]:
    """The effects of an event: on the record's tables, and on what is known of its account."""
    if event.kind == "commit":
        rules, action = COLLECTIONS.get(event.collection or ""), ACTIONS.get(event.action)
        if rules is not None and action is not None:
            yield action(rules, event)
        yield accounts.repo(event)
    elif event.kind in ACCOUNTS:
        yield ACCOUNTS[event.kind](event)


reference = EventByEvent(
    name="reference",
    version=1,
    apply=apply,
    ddl=ddl(
        "record.sql", "duplicate_record.sql", "post.sql", "post_embed.sql", "quote.sql",
        "feed_item.sql", "like.sql", "repost.sql", "follow.sql", "block.sql", "profile.sql",
        "list.sql", "list_item.sql", "list_block.sql", "starter_pack.sql", "feed_generator.sql",
        "labeler.sql", "thread_gate.sql", "post_gate.sql", "verification.sql",
        "reference_list_opt_out.sql", "profile_agg.sql", "post_agg.sql", "notification.sql",
        "actor.sql",
        "actor_sync.sql",
        "reference/tables.sql",
    ),
)  # fmt: skip
"""The AppView's own indexer, bit for bit, as far as what it does follows from the log."""
