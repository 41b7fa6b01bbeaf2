CREATE TABLE IF NOT EXISTS {schema}.quote (
    uri          varchar COLLATE "C" NOT NULL,
    cid          varchar COLLATE "C" NOT NULL,
    subject      varchar COLLATE "C" NOT NULL,
    "subjectCid" varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    "indexedAt"  varchar COLLATE "C" NOT NULL,
    "sortAt"     varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT quote_pkey PRIMARY KEY (uri)
);
CREATE INDEX IF NOT EXISTS quote_subject_cursor_idx
    ON {schema}.quote (subject, "sortAt", cid);
