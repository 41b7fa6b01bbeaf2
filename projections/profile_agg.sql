-- Free room in each page lets a counter's update stay on it and touch no index (HOT).
CREATE TABLE IF NOT EXISTS {schema}.profile_agg (
    did              varchar COLLATE "C" NOT NULL,
    "followersCount" bigint NOT NULL DEFAULT 0,
    "followsCount"   bigint NOT NULL DEFAULT 0,
    "postsCount"     bigint NOT NULL DEFAULT 0,
    CONSTRAINT profile_agg_pkey PRIMARY KEY (did)
) WITH (fillfactor = 85);
