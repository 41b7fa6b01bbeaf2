-- Free room in each page lets a counter's update stay on it and touch no index (HOT).
CREATE TABLE IF NOT EXISTS {schema}.post_agg (
    uri             varchar COLLATE "C" NOT NULL,
    "likeCount"     bigint NOT NULL DEFAULT 0,
    "replyCount"    bigint NOT NULL DEFAULT 0,
    "repostCount"   bigint NOT NULL DEFAULT 0,
    "quoteCount"    bigint NOT NULL DEFAULT 0,
    "bookmarkCount" bigint NOT NULL DEFAULT 0,
    CONSTRAINT post_agg_pkey PRIMARY KEY (uri)
) WITH (fillfactor = 85);
