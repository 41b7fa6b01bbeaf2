CREATE TABLE IF NOT EXISTS {schema}.follow (
    uri          varchar COLLATE "C" NOT NULL,
    cid          varchar COLLATE "C" NOT NULL,
    creator      varchar COLLATE "C" NOT NULL,
    "subjectDid" varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    "indexedAt"  varchar COLLATE "C" NOT NULL,
    "sortAt"     varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    CONSTRAINT follow_pkey PRIMARY KEY (uri),
    CONSTRAINT follow_unique_subject UNIQUE (creator, "subjectDid")
);
CREATE INDEX IF NOT EXISTS follow_creator_cursor_idx
    ON {schema}.follow (creator, "sortAt", cid);
CREATE INDEX IF NOT EXISTS follow_subject_cursor_idx
    ON {schema}.follow ("subjectDid", "sortAt", cid);
