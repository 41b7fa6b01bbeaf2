"""For each alert: series under which it fires, for whom, when, and what it says then."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fires:
    """`series` are in promtool's notation, a value a minute. At minute `silent` the alert is not
    firing yet, at minute `fires` it is, with `labels` and `summary`."""

    series: dict[str, str]
    silent: int
    fires: int
    severity: str
    labels: dict[str, str]
    summary: str


P = 'instance="p"'
LIKE = 'instance="p",projection="like"'
JETSTREAM = 'instance="i",source="jetstream"'
LIVE = 'instance="i",stream="redis://r:6379/0?stream=live"'
STREAM = {"stream": "redis://r:6379/0?stream=live"}
OF_LIKE = {"projection": "like"}
OF_JETSTREAM = {"source": "jetstream"}
OF_POSTS = 'collection="app.bsky.feed.post"'
GIB = 1024**3

FIRING: dict[str, Fires] = {
    "DaemonDown": Fires(
        {'up{job="projector",instance="p"}': "1 0x10"}, 2, 4, "page",
        {"job": "projector", "instance": "p"}, "p does not answer.",
    ),
    "ProjectionRunByNobody": Fires(
        {
            f"projector_projection_owned{{{LIKE}}}": "1 0x10",
            f"projector_lag_events{{{LIKE}}}": "0 500x10",
        },
        1, 3, "page", OF_LIKE, "like is behind and run by nobody.",
    ),
    "ProjectionStandsStill": Fires(
        {
            f"projector_lag_seconds{{{LIKE}}}": "0+60x20",
            f"projector_checkpoint_offset{{{LIKE}}}": "1000x20",
        },
        2, 10, "page", OF_LIKE, "like is 10m 0s behind and does not move.",
    ),
    "ProjectionFails": Fires(
        {f"projector_failed_attempts{{{LIKE}}}": "0 9x20"}, 1, 3, "page", OF_LIKE,
        "like has failed 9 times at the same place.",
    ),
    "CollectionSilent": Fires(
        {f"projector_collection_silent_seconds{{{JETSTREAM},{OF_POSTS}}}": "0 120x20"},
        1, 3, "page",
        {**OF_JETSTREAM, "collection": "app.bsky.feed.post"},
        "jetstream has brought too little of app.bsky.feed.post for 2m 0s.",
    ),
    "SourceLossy": Fires(
        {f"projector_silent_collections{{{JETSTREAM}}}": "0 4x20"}, 1, 3, "page", OF_JETSTREAM,
        "4 collections of jetstream are silent.",
    ),
    "CommitsMissing": Fires(
        {f"projector_probe_missing_total{{{P},{OF_POSTS}}}": "0x15 7x20"}, 14, 17, "page",
        {"collection": "app.bsky.feed.post"},
        "7 commits of app.bsky.feed.post that another upstream has are missing.",
    ),
    "ProjectionBehind": Fires(
        {f"projector_lag_seconds{{{LIKE}}}": "0 600x20"}, 9, 12, "ticket", OF_LIKE,
        "like is 10m 0s behind.",
    ),
    "OutboxGrows": Fires(
        {'projector_outbox_rows{instance="p",aggregate="post_agg"}': "0 3000x20"}, 9, 12, "ticket",
        {"aggregate": "post_agg"}, "3000 windows' deltas wait for post_agg.",
    ),
    "WindowsAreSlow": Fires(
        {
            f'projector_window_seconds_bucket{{{LIKE},le="5"}}': "0x30",
            f'projector_window_seconds_bucket{{{LIKE},le="10"}}': "0+6x30",
            f'projector_window_seconds_bucket{{{LIKE},le="+Inf"}}': "0+6x30",
        },
        9, 25, "ticket", OF_LIKE, "One window in ten of like takes 9.5s or longer.",
    ),
    "AppendsAreSlow": Fires(
        {
            f'projector_append_seconds_bucket{{{JETSTREAM},le="2.5"}}': "0x30",
            f'projector_append_seconds_bucket{{{JETSTREAM},le="5"}}': "0+6x30",
            f'projector_append_seconds_bucket{{{JETSTREAM},le="+Inf"}}': "0+6x30",
        },
        9, 25, "ticket", OF_JETSTREAM,
        "One append in ten from jetstream takes 4.75s or longer.",
    ),
    "TriesAgainAndAgain": Fires(
        {'projector_retries_total{instance="p",work="like"}': "0+10x20"}, 5, 12, "ticket",
        {"instance": "p", "work": "like"}, "like of p is tried again and again.",
    ),
    "DatabaseDoesNotAnswer": Fires(
        {f"projector_database_read_age_seconds{{{P}}}": "2 2 62+60x10"}, 2, 4, "page",
        {"instance": "p"}, "Postgres does not answer p.",
    ),
    "RebuildLeftUnfinished": Fires(
        {f"projector_rebuild_owned{{{LIKE}}}": "1 0x30"}, 14, 17, "ticket", OF_LIKE,
        "Nobody goes on with the rebuild of like.",
    ),
    "SourceIngestedByNobody": Fires(
        {
            f"projector_source_owned{{{JETSTREAM}}}": "1 0x10",
            f"projector_source_idle_seconds{{{JETSTREAM}}}": "0 60+60x10",
        },
        1, 3, "page", OF_JETSTREAM, "jetstream is ingested by nobody.",
    ),
    "SourceSilent": Fires(
        {
            f"projector_source_owned{{{JETSTREAM}}}": "1x10",
            f"projector_source_idle_seconds{{{JETSTREAM}}}": "0+60x10",
        },
        2, 5, "page", OF_JETSTREAM, "jetstream has brought nothing for 5m 0s.",
    ),
    "SourceLate": Fires(
        {f"projector_source_lag_seconds{{{JETSTREAM}}}": "0 420x20"}, 9, 12, "ticket",
        OF_JETSTREAM, "What jetstream brings is 7m 0s old.",
    ),
    "SourceReconnects": Fires(
        {f"projector_reconnects_total{{{JETSTREAM}}}": "0+1x40"}, 5, 30, "ticket", OF_JETSTREAM,
        "The connection to jetstream was lost 15 times in 15 minutes.",
    ),
    "ManyUndecodable": Fires(
        {
            f'projector_undecodable_total{{{JETSTREAM},reason="json"}}': "0x2 0+30x30",
            f"projector_appended_events_total{{{JETSTREAM}}}": "0+1000x40",
        },
        3, 20, "ticket", OF_JETSTREAM, "More than 1 % of what jetstream sends cannot be read.",
    ),
    "RedisDown": Fires(
        {f"projector_redis_up{{{LIVE}}}": "1 0x10"}, 1, 3, "page", STREAM,
        "The server of redis://r:6379/0?stream=live does not answer.",
    ),
    "RedisNearlyFull": Fires(
        {
            f"projector_redis_memory_bytes{{{LIVE}}}": "50 90x10",
            f"projector_redis_memory_max_bytes{{{LIVE}}}": "100x10",
        },
        2, 4, "page", STREAM,
        "The server of redis://r:6379/0?stream=live has nearly all its memory in use.",
    ),
    "RedisStreamGrows": Fires(
        {f"projector_redis_stream_entries{{{LIVE}}}": "490000+1000x40"}, 15, 30, "ticket", STREAM,
        "redis://r:6379/0?stream=live has 520k entries, and grows.",
    ),
    "RowsDiffer": Fires(
        {f"projector_audit_differences{{{P}}}": "0 3x10"}, 1, 3, "page", {},
        "3 keys hold something else than the log says.",
    ),
    "AuditStandsStill": Fires(
        {
            f"projector_audit_proven_accounts{{{P}}}": "0+10x10 100x90",
            f"projector_audit_accounts{{{P}}}": "500x100",
        },
        50, 90, "ticket", {}, "The audit has proven no account for an hour.",
    ),
    "EventsRefused": Fires(
        {
            'projector_dead_letters{instance="p",of="like",stage="apply",reason="refused"}':
            "0 2x10",
            'projector_dead_letters{instance="q",of="like",stage="apply",reason="refused"}':
            "0 2x10",
        },
        1, 3, "ticket", {"of": "like"}, "Postgres refused 2 events of like.",
    ),
    "ManyDeadLetters": Fires(
        {
            f'projector_dead_letters_made_total{{{LIKE},reason="invalid-record"}}': "0+100x30",
            f"projector_window_events_total{{{LIKE}}}": "0+1000x30",
        },
        3, 15, "ticket", OF_LIKE, "More than 5 % of the events of like are dead letters.",
    ),
    "DiskNearlyFull": Fires(
        {f"projector_database_bytes{{{P}}}": f"{100 * GIB} {190 * GIB}x10"}, 5, 8, "page", {},
        "The database takes 190GiB, more than 90 % of its disk.",
    ),
    "DiskFillsWithinDays": Fires(
        {f"projector_database_bytes{{{P}}}": f"{50 * GIB}+{GIB // 20}x500"}, 30, 480, "ticket", {},
        "At this pace the disk is full within four days.",
    ),
    "LogWithoutRoom": Fires(
        {
            f"projector_log_room_events{{{P}}}": "300000-12000x24",
            f"projector_log_head_offset{{{P}}}": "0+12000x24",
        },
        10, 20, "page", {}, "The log has partitions for less than ten minutes more.",
    ),
}  # fmt: skip

HEALTHY: dict[str, str] = {
    'up{job="projector",instance="p"}': "1x200",
    f"projector_projection_owned{{{LIKE}}}": "1x200",
    f"projector_lag_events{{{LIKE}}}": "30x200",
    f"projector_lag_seconds{{{LIKE}}}": "0.3x200",
    f"projector_checkpoint_offset{{{LIKE}}}": "0+12000x200",
    'projector_outbox_rows{instance="p",aggregate="post_agg"}': "2x200",
    f'projector_window_seconds_bucket{{{LIKE},le="0.1"}}': "0+60x200",
    f'projector_window_seconds_bucket{{{LIKE},le="+Inf"}}': "0+60x200",
    f'projector_append_seconds_bucket{{{JETSTREAM},le="0.1"}}': "0+60x200",
    f'projector_append_seconds_bucket{{{JETSTREAM},le="+Inf"}}': "0+60x200",
    'projector_retries_total{instance="p",work="like"}': "0+0x20 1x179",
    f"projector_database_read_age_seconds{{{P}}}": "2x200",
    f"projector_database_read_failures_total{{{P}}}": "0x200",
    f"projector_rebuild_owned{{{LIKE}}}": "1x200",
    f"projector_source_owned{{{JETSTREAM}}}": "1x200",
    f"projector_source_idle_seconds{{{JETSTREAM}}}": "0.2x200",
    'projector_source_owned{instance="p",source="file:x.jsonl"}': "0x200",
    'projector_source_idle_seconds{instance="p",source="file:x.jsonl"}': "90+60x200",
    f"projector_source_lag_seconds{{{JETSTREAM}}}": "1x200",
    f"projector_reconnects_total{{{JETSTREAM}}}": "0x50 1x149",
    f'projector_undecodable_total{{{JETSTREAM},reason="json"}}': "0+1x200",
    f"projector_appended_events_total{{{JETSTREAM}}}": "0+12000x200",
    f"projector_redis_up{{{LIVE}}}": "1x200",
    f"projector_redis_memory_bytes{{{LIVE}}}": "99x200",
    f"projector_redis_memory_max_bytes{{{LIVE}}}": "0x200",
    f"projector_redis_stream_entries{{{LIVE}}}": "2000x200",
    f"projector_audit_differences{{{P}}}": "0x200",
    f"projector_failed_attempts{{{LIKE}}}": "0x200",
    f"projector_silent_collections{{{JETSTREAM}}}": "0x200",
    f"projector_probe_missing_total{{{P},{OF_POSTS}}}": "3x200",
    f"projector_audit_proven_accounts{{{P}}}": "0+10x200",
    f"projector_audit_accounts{{{P}}}": "50000x200",
    'projector_dead_letters{instance="p",of="like",stage="validate",reason="x"}': "0+1x200",
    f'projector_dead_letters_made_total{{{LIKE},reason="x"}}': "0+1x200",
    f"projector_window_events_total{{{LIKE}}}": "0+12000x200",
    f"projector_database_bytes{{{P}}}": f"{50 * GIB}x200",
    f"projector_log_room_events{{{P}}}": "15000000x200",
    f"projector_log_head_offset{{{P}}}": "0+12000x200",
}
"""A system that is well: none of the alerts fires."""
