"""`post_agg`: how many likes, reposts and replies a record has, whatever its kind.

Replies are counted at their direct parent. `quoteCount` and `bookmarkCount` are others' to keep.
"""

from __future__ import annotations

from projections.like import likes
from projections.post import posts
from projections.repost import reposts
from projections.rows import ddl
from projector.declare import Aggregate, Count

post_agg = Aggregate(
    name="post_agg",
    version=1,
    table="post_agg",
    key="uri",
    counters={
        "likeCount": Count(likes, by="subject"),
        "repostCount": Count(reposts, by="subject"),
        "replyCount": Count(posts, by="replyParent"),
    },
    ddl=ddl("post_agg.sql"),
    foreign=("quoteCount", "bookmarkCount"),
)
