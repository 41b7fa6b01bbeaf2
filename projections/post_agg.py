"""`post_agg`: how many likes, reposts, replies and quotes a record has, whatever its kind.

Replies are counted at their direct parent, unless a thread gate forbids them; quotes at the uri of
the quoted post, whichever version of it they mean. `bookmarkCount` is others' to keep.
"""

from __future__ import annotations

from projections.like import likes
from projections.post import posts
from projections.repost import reposts
from projections.rows import ddl
from projector.declare import Aggregate, Count

post_agg = Aggregate(
    name="post_agg",
    version=3,
    table="post_agg",
    key="uri",
    counters={
        "likeCount": Count(likes, by="subject"),
        "repostCount": Count(reposts, by="subject"),
        "replyCount": Count(posts, by="replyParent", unless="violatesThreadGate"),
        "quoteCount": Count(posts, by="subject", child="quote"),
    },
    ddl=ddl("post_agg.sql"),
    foreign=("bookmarkCount",),
)
