CREATE TABLE IF NOT EXISTS {schema}.record (
    uri           varchar COLLATE "C" NOT NULL,
    cid           varchar COLLATE "C" NOT NULL,
    did           varchar COLLATE "C" NOT NULL,
    json          text COLLATE "C" NOT NULL,
    "indexedAt"   varchar COLLATE "C" NOT NULL,
    "takedownRef" varchar COLLATE "C",
    tags          jsonb,
    CONSTRAINT record_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS record_did_idx
    ON {schema}.record (did);
