"""`notification`: whom a like, repost, follow, post, verification or new account is told to.

The rules of the Bluesky AppView's dataplane, but that rows come and go with the record that they
are of: of duplicates the one that has the row notifies, and what is taken back is told to nobody.
"""

from __future__ import annotations

from projections.follow import follows
from projections.like import likes
from projections.post import posts
from projections.post_notice import NOTICES
from projections.profile import profiles
from projections.repost import reposts
from projections.rows import ddl
from projections.verification import verifications
from projector.declare import Derived, Select, Source

COLUMNS = ("did", "recordUri", "recordCid", "author", "reason", "reasonSubject", "sortAt")
FRAME = {"recordUri": "b.uri", "recordCid": "b.cid", "author": "b.creator"}


def owner_of(uri: str) -> str:
    """The authority of an at-uri, as SQL."""
    return f"split_part({uri}, '/', 3)"


def told(reason: str, to: str, subject: str, where: str, sort_at: str = 'b."sortAt"') -> Select:
    """The notification of a row `b`, with a reason, to an account, about a subject."""
    return Select(
        {**FRAME, "did": to, "reason": f"'{reason}'", "reasonSubject": subject, "sortAt": sort_at},
        where,
    )


def pointed_at(reason: str) -> tuple[Select, ...]:
    """Those of a like or repost: to whom its subject is of, and to who brought it there."""
    not_self = f"{owner_of('b.subject')} <> b.creator"
    not_via_self = f"b.via IS NOT NULL AND {owner_of('b.via')} <> b.creator"
    return (
        told(reason, owner_of("b.subject"), "b.subject", not_self),
        told(
            f"{reason}-via-repost", owner_of("b.via"), "b.via", f"{not_self} AND {not_via_self}"
        ),
    )  # fmt: skip


NOTICE = Select(
    {
        "did": "b.did",
        "recordUri": "b.uri",
        "recordCid": "b.cid",
        "author": owner_of("b.uri"),
        "reason": "b.reason",
        "reasonSubject": 'b."reasonSubject"',
        "sortAt": 'b."sortAt"',
    }
)
"""That of a post, to whom was decided when it was applied."""

JOINED = 'b."joinedViaStarterPackUri"'

notifications = Derived(
    name="notification",
    version=2,
    table="notification",
    key="recordUri",
    columns=COLUMNS,
    sources={
        "like": Source(likes, pointed_at("like")),
        "repost": Source(reposts, pointed_at("repost")),
        "follow": Source(follows, (told("follow", 'b."subjectDid"', "NULL", "true"),)),
        "post": Source(posts, (NOTICE,), child=NOTICES.name),
        "verification": Source(
            verifications, (told("verified", "b.subject", "NULL", "true", 'b."sortedAt"'),)
        ),
        "profile": Source(
            profiles,
            (
                told(
                    "starterpack-joined", owner_of(JOINED), JOINED, f"{JOINED} IS NOT NULL",
                    'b."indexedAt"',
                ),
            ),
        ),
    },
    ddl=ddl("notification.sql"),
)  # fmt: skip
