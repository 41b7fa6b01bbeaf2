-- Without the unique index of ours: the indexer leaves rows of a reply that moved between threads.
CREATE TABLE IF NOT EXISTS {schema}.op_thread_reply (
    "rootUri"   varchar COLLATE "C" NOT NULL,
    "parentUri" varchar COLLATE "C" NOT NULL,
    uri         varchar COLLATE "C" NOT NULL,
    "deletedAt" varchar COLLATE "C",
    CONSTRAINT op_thread_reply_pkey PRIMARY KEY ("rootUri", uri)
);
-- The AppView fills it; it decides who is notified.
CREATE TABLE IF NOT EXISTS {schema}.thread_mute (
    "rootUri"    varchar COLLATE "C" NOT NULL,
    "mutedByDid" varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    CONSTRAINT thread_mute_pkey PRIMARY KEY ("rootUri", "mutedByDid")
);
