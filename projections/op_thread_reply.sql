CREATE TABLE IF NOT EXISTS {schema}.op_thread_reply (
    "rootUri"   varchar COLLATE "C" NOT NULL,
    "parentUri" varchar COLLATE "C" NOT NULL,
    uri         varchar COLLATE "C" NOT NULL,
    "deletedAt" varchar COLLATE "C",
    CONSTRAINT op_thread_reply_pkey PRIMARY KEY ("rootUri", uri)
);
-- Ours, by which the engine finds a post's row; the AppView looks by the thread.
CREATE UNIQUE INDEX IF NOT EXISTS op_thread_reply_uri_idx
    ON {schema}.op_thread_reply (uri);
