CREATE TABLE IF NOT EXISTS {schema}."like" (
    uri          varchar COLLATE "C" NOT NULL,
    cid          varchar COLLATE "C" NOT NULL,
    creator      varchar COLLATE "C" NOT NULL,
    subject      varchar COLLATE "C" NOT NULL,
    "subjectCid" varchar COLLATE "C" NOT NULL,
    "createdAt"  varchar COLLATE "C" NOT NULL,
    "indexedAt"  varchar COLLATE "C" NOT NULL,
    "sortAt"     varchar COLLATE "C" NOT NULL
        GENERATED ALWAYS AS (LEAST("createdAt", "indexedAt")) STORED,
    via          varchar COLLATE "C",
    "viaCid"     varchar COLLATE "C",
    CONSTRAINT like_pkey PRIMARY KEY (uri),
    CONSTRAINT like_unique_subject UNIQUE (subject, creator)
);
CREATE INDEX IF NOT EXISTS like_creator_cursor_idx
    ON {schema}."like" (creator, "sortAt", cid);
CREATE INDEX IF NOT EXISTS like_subject_sort_at_creator_idx
    ON {schema}."like" (subject, "sortAt" DESC) INCLUDE (creator);
