CREATE TABLE IF NOT EXISTS {schema}.repost (
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
    CONSTRAINT repost_pkey PRIMARY KEY (uri),
    CONSTRAINT repost_unique_subject UNIQUE (creator, subject)
);
CREATE INDEX IF NOT EXISTS repost_subject_idx
    ON {schema}.repost (subject);
CREATE INDEX IF NOT EXISTS repost_order_by_idx
    ON {schema}.repost ("sortAt", cid);
