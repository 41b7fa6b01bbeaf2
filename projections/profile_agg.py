"""`profile_agg`: how many followers, follows and posts an account has."""

from __future__ import annotations

from projections.follow import follows
from projections.post import posts
from projections.rows import ddl
from projector.declare import Aggregate, Count

profile_agg = Aggregate(
    name="profile_agg",
    version=1,
    table="profile_agg",
    key="did",
    counters={
        "followersCount": Count(follows, by="subjectDid"),
        "followsCount": Count(follows, by="creator"),
        "postsCount": Count(posts, by="creator"),
    },
    ddl=ddl("profile_agg.sql"),
)
