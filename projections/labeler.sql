CREATE TABLE IF NOT EXISTS {schema}.labeler (
    uri         varchar COLLATE "C" NOT NULL,
    cid         varchar COLLATE "C" NOT NULL,
    creator     varchar COLLATE "C" NOT NULL,
    "createdAt" varchar COLLATE "C" NOT NULL,
    "indexedAt" varchar COLLATE "C" NOT NULL,
    "sortAt"    varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT labeler_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS labeler_order_by_idx
    ON {schema}.labeler ("sortAt", cid);
