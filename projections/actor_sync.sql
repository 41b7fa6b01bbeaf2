-- Free room in each page lets a row's update stay on it and touch no index (HOT).
CREATE TABLE IF NOT EXISTS {schema}.actor_sync (
    did         varchar COLLATE "C" NOT NULL,
    "commitCid" varchar COLLATE "C" NOT NULL,
    "repoRev"   varchar COLLATE "C",
    CONSTRAINT actor_sync_pkey PRIMARY KEY (did)
) WITH (fillfactor = 50);
