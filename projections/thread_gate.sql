CREATE TABLE IF NOT EXISTS {schema}.thread_gate (
    uri         varchar COLLATE "C" NOT NULL,
    cid         varchar COLLATE "C" NOT NULL,
    creator     varchar COLLATE "C" NOT NULL,
    "postUri"   varchar COLLATE "C" NOT NULL,
    "createdAt" varchar COLLATE "C" NOT NULL,
    "indexedAt" varchar COLLATE "C" NOT NULL,
    CONSTRAINT thread_gate_pkey PRIMARY KEY (uri),
    CONSTRAINT "thread_gate_postUri_key" UNIQUE ("postUri")
);
