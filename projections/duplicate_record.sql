CREATE TABLE IF NOT EXISTS {schema}.duplicate_record (
    uri           varchar COLLATE "C" NOT NULL,
    cid           varchar COLLATE "C" NOT NULL,
    "duplicateOf" varchar COLLATE "C" NOT NULL,
    "indexedAt"   varchar COLLATE "C" NOT NULL,
    CONSTRAINT duplicate_record_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS duplicate_record_duplicate_of_idx
    ON {schema}.duplicate_record ("duplicateOf");
